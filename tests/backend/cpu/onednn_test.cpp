#include <doctest/doctest.h>

#include <resnext/backend/cpu/onednn.hpp>

#include "files.hpp"

using namespace resnext;

TEST_CASE("what oneDNN throws becomes a DeviceError with the layer, the request and its own words") {
  const auto refuse = [] { throw dnnl::error(dnnl_unimplemented, "could not create a primitive descriptor"); };
  CHECK(testing::message_of<DeviceError>([&] { detail::with_onednn("layer1.0.conv1", "a convolution", refuse); }) ==
        "layer1.0.conv1: oneDNN refused a convolution: could not create a primitive descriptor (unimplemented)");
  CHECK(detail::with_onednn("fc", "a product", [] { return 3; }) == 3);
}
