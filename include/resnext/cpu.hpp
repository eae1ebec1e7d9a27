/// @file
/// The CPU backend: needs oneDNN, and OpenMP for more than one thread.
#pragma once

#include <resnext/backend/cpu/cpu.hpp>       // Cpu<float>
#include <resnext/backend/cpu/grouped.hpp>   // GroupedConvolution<d>
#include <resnext/backend/cpu/isa.hpp>       // Isa, isa(), available_isas()
#include <resnext/backend/cpu/parallel.hpp>  // thread_count(), parallel_for()
#include <resnext/nn/executors.hpp>

namespace resnext {

// Where this header is included, Classifier<Net> is Classifier<Net, Cpu<float>>, and the others alike.
template <class Net, InferenceBackend B = Cpu<float>>
class Classifier;
template <class Net, Backend B = Cpu<float>, class Comm>
class Trainer;
template <class Net, InferenceBackend B = Cpu<float>>
class Predictor;

}  // namespace resnext
