/// @file
/// The reference backend: needs Eigen and nothing else.
#pragma once

#include <resnext/backend/reference/reference.hpp>  // Reference<float>, Reference<double>
