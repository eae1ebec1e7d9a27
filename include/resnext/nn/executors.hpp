/// @file
/// The executors by name. A backend's umbrella header may make itself their default.
#pragma once

#include <resnext/backend/backend.hpp>
#include <resnext/nn/communicator.hpp>

namespace resnext {

template <class Net, InferenceBackend B>
class Classifier;

template <class Net, Backend B, class Comm = Solo>
class Trainer;

template <class Net, InferenceBackend B>
class Predictor;

}  // namespace resnext
