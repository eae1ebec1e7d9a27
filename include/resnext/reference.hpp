/// @file
/// The reference backend: needs Eigen and nothing else.
#pragma once

#include <resnext/backend/reference/reference.hpp>  // Reference<double>, float, bfloat16, float16, int8
