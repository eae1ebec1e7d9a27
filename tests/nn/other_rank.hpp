/// @file
/// What the tests of trainers on several ranks put in another rank's place.
#pragma once

#include <cstdint>
#include <memory>

#include <resnext/backend/host/stream.hpp>

namespace resnext::test {

/// A communicator of two ranks that adds `extra` to the first gradient of every sum: what the other one sent.
struct OtherRank {
  std::shared_ptr<double> extra = std::make_shared<double>(0);

  int rank() const { return 0; }
  int size() const { return 2; }
  template <class Gradient>
  void all_reduce(Gradient* values, std::int64_t, HostStream&) {
    values[0] += static_cast<Gradient>(*extra);
  }
};

}  // namespace resnext::test
