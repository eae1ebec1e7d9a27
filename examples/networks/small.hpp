/// The networks for small pictures. A network is a type, so a list of names is a list of types: one line here adds one
/// to the programs.
#pragma once

#include <resnext/cpu.hpp>
#include <resnext/nn/make_executors.hpp>
#include <resnext/resnext.hpp>

#include "../networks.hpp"

namespace examples {

/// What they run on; the first is the default.
inline constexpr BackendList<Cpu<float>> backends;

/// 29 layers as in the paper (Sec. 5.3), for pictures of any number of channels.
template <int C, int d, int Inputs, int K>
using Net29 = Network<Template<CifarStem<64, Inputs>, Bottleneck<C, d>, Stage<3>, Stage<3>, Stage<3>, Classes<K>>>;

/// The same template, narrow and shallow enough to be trained in minutes on two cores.
template <int Inputs, int K>
using Small =
    Network<Template<CifarStem<16, Inputs>, Bottleneck<4, 4>, Planes<16>, Stage<1>, Stage<1>, Stage<1>, Classes<K>>>;

/// All of them, for pictures of that many channels and classes.
template <int Inputs, int K>
inline constexpr NetworkList<Small<Inputs, K>, Net29<4, 8, Inputs, K>, Net29<32, 4, Inputs, K>,
                             Net29<8, 64, Inputs, K>, Net29<16, 64, Inputs, K>>
    networks{{"small", "resnext29_4x8d", "resnext29_32x4d", "resnext29_8x64d", "resnext29_16x64d"}};

/// `use(list)` with the list for a data set.
auto for_source(const Source& source, const auto& use) {
  return source.inputs == 1 ? use(networks<1, 10>) : source.classes == 10 ? use(networks<3, 10>) : use(networks<3, 100>);
}

}  // namespace examples
