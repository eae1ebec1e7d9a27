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

TEST_CASE("a oneDNN on other threads than OpenMP's is refused") {
  detail::check_runtime(DNNL_RUNTIME_OMP);
  detail::check_runtime(DNNL_RUNTIME_SEQ);
  CHECK(testing::message_of<DeviceError>([] {
          detail::check_runtime(DNNL_RUNTIME_TBB);
        }).starts_with("oneDNN: expected a library built for OpenMP (ONEDNN_CPU_RUNTIME=OMP), found one for TBB"));
  CHECK_THROWS_WITH_AS(detail::check_runtime(DNNL_RUNTIME_THREADPOOL), doctest::Contains("found one for thread pools"),
                       DeviceError);
  CHECK_THROWS_AS(detail::check_runtime(DNNL_RUNTIME_DPCPP), DeviceError);
}

TEST_CASE("a oneDNN that does not follow a lowered RESNEXT_ISA is refused") {
  using dnnl::cpu_isa;
  detail::check_lowered(Isa::avx2, dnnl::status::success, cpu_isa::avx2);
  detail::check_lowered(Isa::avx2, dnnl::status::invalid_arguments, cpu_isa::avx);  // it was lower already
  detail::check_lowered(Isa::portable, dnnl::status::success, cpu_isa::sse41);
  CHECK(testing::message_of<DeviceError>(
            [] { detail::check_lowered(Isa::portable, dnnl::status::invalid_arguments, cpu_isa::avx2); }) ==
        "RESNEXT_ISA=portable: oneDNN does not follow (invalid_arguments); it was used before this library, or built "
        "without this setting. Set ONEDNN_MAX_CPU_ISA=SSE41 too, or unset RESNEXT_ISA");
  CHECK_THROWS_WITH_AS(detail::check_lowered(Isa::avx2, dnnl::status::unimplemented, cpu_isa::avx512_core),
                       doctest::Contains("RESNEXT_ISA=avx2: oneDNN does not follow"), DeviceError);
  const dnnl::engine& engine = detail::onednn_engine();
  CHECK(engine.get_kind() == dnnl::engine::kind::cpu);
}
