/// @file
/// Networks as types, their parameters and executors, for any backend. Include a backend's header beside it.
#pragma once

// Below everything
#include <resnext/error.hpp>
#include <resnext/random.hpp>
#include <resnext/version.hpp>

// Networks as types
#include <resnext/model/family.hpp>

// Parameters, and their files
#include <resnext/nn/mapped_parameters.hpp>
#include <resnext/nn/parameter_files.hpp>
#include <resnext/nn/parameters.hpp>

// Executors
#include <resnext/nn/classifier.hpp>
#include <resnext/nn/trainer.hpp>
