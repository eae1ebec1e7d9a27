#include "foreign.hpp"

#include "words.hpp"

#include "all.hpp"
