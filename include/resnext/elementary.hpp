/// @file
/// Elementary functions of double numbers. The standard header declares special functions too, which cost a compiler
/// more than everything else that is needed of it here.
#pragma once

namespace resnext::detail {

inline double sqrt(double x) { return __builtin_sqrt(x); }
inline double exp(double x) { return __builtin_exp(x); }
inline double log(double x) { return __builtin_log(x); }
inline double cos(double x) { return __builtin_cos(x); }
/// To the nearest, of two equally near ones the even one.
inline float rounded(float x) { return __builtin_nearbyintf(x); }

}  // namespace resnext::detail
