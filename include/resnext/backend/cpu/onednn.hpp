/// @file
/// oneDNN as this backend uses it: one spelling for versions 2.6 and 3, errors in our words, calls that do not
/// allocate.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include <dnnl_debug.h>
#include <dnnl.hpp>

#include <resnext/backend/cpu/isa.hpp>
#include <resnext/backend/cpu/parallel.hpp>
#include <resnext/backend/host/stream.hpp>
#include <resnext/error.hpp>

namespace resnext {

namespace detail {

/// @throws DeviceError for a oneDNN that computes on other threads than ours: two pools on the same cores are slower
/// than one, and a thread pool of the caller's would be left idle. A sequential one is taken as it is.
inline void check_runtime(unsigned runtime) {
  if (runtime == DNNL_RUNTIME_OMP || runtime == DNNL_RUNTIME_SEQ) return;
  throw_error<DeviceError>("oneDNN: expected a library built for OpenMP (ONEDNN_CPU_RUNTIME=OMP), found one for ",
                           runtime == DNNL_RUNTIME_TBB          ? "TBB"
                           : runtime == DNNL_RUNTIME_THREADPOOL ? "thread pools"
                                                                : "another run-time library",
                           "; link the other build, Debian's for instance");
}

/// @throws DeviceError where oneDNN would use an instruction set that `RESNEXT_ISA` excludes.
inline void check_lowered(Isa wanted, dnnl::status status, dnnl::cpu_isa effective) {
  const auto most = static_cast<unsigned>(wanted == Isa::avx2 ? dnnl::cpu_isa::avx2 : dnnl::cpu_isa::sse41);
  if ((static_cast<unsigned>(effective) & ~most) == 0) return;  // each one's bits contain those below it
  throw_error<DeviceError>("RESNEXT_ISA=", isa_name(wanted), ": oneDNN does not follow (",
                           dnnl_status2str(static_cast<dnnl_status_t>(status)),
                           "); it was used before this library, or built without this setting. Set ONEDNN_MAX_CPU_ISA=",
                           wanted == Isa::avx2 ? "AVX2" : "SSE41", " too, or unset RESNEXT_ISA");
}

/// The engine of all primitives. Where `RESNEXT_ISA` lowers the instruction set of our kernels it lowers oneDNN's too,
/// which is possible only before the first primitive.
/// @throws DeviceError when that is too late, or oneDNN runs on other threads
inline const dnnl::engine& onednn_engine() {
  static const dnnl::engine engine = [] {
    check_runtime(dnnl_version()->cpu_runtime);
    if (isa() != available_isas().back()) {
      const auto status = dnnl::set_max_cpu_isa(isa() == Isa::avx2 ? dnnl::cpu_isa::avx2 : dnnl::cpu_isa::sse41);
      check_lowered(isa(), status, dnnl::get_effective_cpu_isa());
    }
    return dnnl::engine(dnnl::engine::kind::cpu, 0);
  }();
  return engine;
}

/// Runs `f` on thread_count() of oneDNN's; what it throws becomes a DeviceError: "layer1.0.conv1: oneDNN refused
/// <what>: <its words>".
template <class F>
auto with_onednn(std::string_view path, std::string_view what, const F& f) {
  try {
    const ThreadScope scope(thread_count());
    return f();
  } catch (const dnnl::error& error) {
    throw_error<DeviceError>(path, ": oneDNN refused ", what, ": ", error.what(), " (", dnnl_status2str(error.status),
                             ")");
  }
}

/// Attributes of all primitives: scratch memory is ours.
inline dnnl::primitive_attr onednn_attributes() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

inline void append_relu(dnnl::post_ops& ops) {
#if DNNL_VERSION_MAJOR >= 3
  ops.append_eltwise(dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
#else
  ops.append_eltwise(1.0f, dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
#endif
}

/// `Op::primitive_desc` of a forward primitive; version 2 takes the arguments through a `desc`.
template <class Op, class... Arguments>
typename Op::primitive_desc describe_forward(const dnnl::primitive_attr& attributes, const Arguments&... arguments) {
#if DNNL_VERSION_MAJOR >= 3
  return {onednn_engine(), arguments..., attributes};
#else
  return {typename Op::desc(arguments...), attributes, onednn_engine()};
#endif
}

/// The same of a backward primitive, which needs the descriptor of the forward one.
template <class Op, class Forward, class... Arguments>
typename Op::primitive_desc describe_backward(const Forward& forward, const Arguments&... arguments) {
#if DNNL_VERSION_MAJOR >= 3
  return {onednn_engine(), arguments..., forward, onednn_attributes()};
#else
  return {typename Op::desc(arguments...), onednn_attributes(), onednn_engine(), forward};
#endif
}

/// Floats that hold `bytes`, rounded up to whole cache lines.
constexpr std::size_t lines(std::size_t bytes) { return (bytes + 63) / 64 * 16; }

/// A primitive with its memory objects, made once. Running it sets their pointers, in the order of the construction;
/// all that oneDNN still allocates then is a small table of its own. It runs on as many threads as it was made for:
/// oneDNN sizes scratch memory and cuts the work for them.
class Primitive {
 public:
  struct Argument {
    int slot;  ///< DNNL_ARG_...
    dnnl::memory::desc layout;
  };

  Primitive() = default;
  Primitive(const dnnl::primitive& primitive, std::initializer_list<Argument> arguments) : primitive_(primitive) {
    for (const auto& [slot, layout] : arguments) {
      memories_.emplace_back(layout, onednn_engine(), nullptr);
      arguments_.push_back({slot, memories_.back().get()});
    }
  }
  Primitive(Primitive&&) = default;
  Primitive& operator=(Primitive&&) = default;

  explicit operator bool() const { return !memories_.empty(); }

  /// @throws dnnl::error
  void run(const dnnl::stream& stream, std::initializer_list<const void*> data) {
    const ThreadScope scope(threads_);
    std::size_t i = 0;
    for (const void* pointer : data) memories_[i++].set_data_handle(const_cast<void*>(pointer));
    dnnl::error::wrap_c_api(
        dnnl_primitive_execute(primitive_.get(), stream.get(), static_cast<int>(arguments_.size()), arguments_.data()),
        "could not execute a primitive");
  }

 private:
  dnnl::primitive primitive_;
  std::vector<dnnl::memory> memories_;
  std::vector<dnnl_exec_arg_t> arguments_;
  int threads_ = thread_count();
};

/// Copies from one layout to another; empty where they are the same.
inline Primitive make_reorder(const dnnl::memory::desc& from, const dnnl::memory::desc& to) {
  if (from == to) return {};
  return {dnnl::reorder(dnnl::reorder::primitive_desc(onednn_engine(), from, onednn_engine(), to)),
          {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}}};
}

/// The layout with dimensions in oneDNN's order.
inline dnnl::memory::desc layout(const dnnl::memory::dims& dims, dnnl::memory::format_tag tag) {
  return {dims, dnnl::memory::data_type::f32, tag};
}

/// A name for where a layout of weights has each number: equal names, equal places.
inline std::string layout_name(const dnnl::memory::desc& layout) {
  std::string name = "onednn";
  const auto append = [&](const auto& numbers, int count) {
    name += ' ';
    for (int i = 0; i < count; ++i) name.append(i > 0 ? "," : "").append(std::to_string(numbers[i]));
  };
#if DNNL_VERSION_MAJOR >= 3
  append(layout.get_strides(), layout.get_ndims());
  append(layout.get_inner_blks(), layout.get_inner_nblks());
  append(layout.get_inner_idxs(), layout.get_inner_nblks());
#else
  const auto& blocking = layout.data.format_desc.blocking;
  append(blocking.strides, layout.data.ndims);
  append(blocking.inner_blks, blocking.inner_nblks);
  append(blocking.inner_idxs, blocking.inner_nblks);
#endif
  return name;
}

}  // namespace detail

/// A host stream that oneDNN's primitives can run on.
class CpuStream : public HostStream {
 public:
  /// Of the one engine.
  const dnnl::stream& onednn() const { return onednn_; }

 private:
  dnnl::stream onednn_{detail::onednn_engine()};
};

}  // namespace resnext
