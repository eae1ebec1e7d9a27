// Kernels over flat arrays, compiled for every target by for_each_target-inl.h; called by pointwise.hpp.

/// y = x + other, rectified if asked; `other` may be null.
inline void pointwise(const float* x, const float* other, float* y, std::ptrdiff_t size, bool rectify) {
  for_each_vector(size, [&](std::ptrdiff_t i, int n) RESNEXT_INLINED {
    Vec v = load_some(x + i, n);
    if (other != nullptr) v = v + load_some(other + i, n);
    store_some(y + i, rectify ? relu(v) : v, n);
  });
}

/// dx = dy where y > 0 or not a number, else 0.
inline void rectify_backward(const float* y, const float* dy, float* dx, std::ptrdiff_t size) {
  for_each_vector(size, [&](std::ptrdiff_t i, int n) RESNEXT_INLINED {
    store_some(dx + i, relu_gradient(load_some(y + i, n), load_some(dy + i, n)), n);
  });
}

/// y = x scale + shift for `rows` rows of `c` channels, rectified if asked.
inline void scale_shift(const float* x, const float* scale, const float* shift, float* y, std::ptrdiff_t rows, int c,
                        bool rectify) {
  for (; rows > 0; --rows, x += c, y += c) {
    for_each_vector(c, [&](std::ptrdiff_t i, int n) RESNEXT_INLINED {
      const Vec v = fma(load_some(x + i, n), load_some(scale + i, n), load_some(shift + i, n));
      store_some(y + i, rectify ? relu(v) : v, n);
    });
  }
}

/// g = scale gradient + decay w; v = momentum v + g; w -= rate (nesterov ? g + momentum v : v).
inline void sgd(const SgdTask& task, float* weights, const float* gradient, float* velocity, std::ptrdiff_t size) {
  const Vec scale = set1(task.scale), decay = set1(task.decay), momentum = set1(task.momentum), rate = set1(-task.rate);
  for_each_vector(size, [&](std::ptrdiff_t i, int n) RESNEXT_INLINED {
    const Vec w = load_some(weights + i, n);
    const Vec g = fma(decay, w, scale * load_some(gradient + i, n));
    const Vec v = fma(momentum, load_some(velocity + i, n), g);
    store_some(velocity + i, v, n);
    store_some(weights + i, fma(rate, task.nesterov ? fma(momentum, v, g) : v, w), n);
  });
}

/// True if no value is infinite or not a number.
inline bool all_finite(const float* x, std::ptrdiff_t size) {
  Mask bad = none();
  for_each_vector(
      size, [&](std::ptrdiff_t i, int n) RESNEXT_INLINED { bad = either(bad, is_not_finite(load_some(x + i, n))); });
  return !any(bad);
}
