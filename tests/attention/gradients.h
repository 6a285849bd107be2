#pragma once

#include <functional>
#include <utility>

#include "headscope/attention.h"

namespace headscope::testing_support {

/// What the backward pass of a call gives, as f32; dbias and dsinks where the call has bias and sinks.
struct Gradients {
  Tensor dq, dk, dv, dbias, dsinks;
};

template <std::size_t N>
Tensor like(DType dtype, const std::array<std::int64_t, N>& shape) {
  return Tensor(dtype, Shape(shape.begin(), shape.end()));
}

template <typename T>
using BackwardFunction = void(const FocusGradientInputOf<T>&, const FocusGradientOf<T>&);

template <typename T>
Gradients run_backward(BackwardFunction<T>* backward, const FocusGradientInputOf<T>& in) {
  const FocusInputOf<T>& f = in.forward;
  constexpr DType kType = kDTypeOf<T>;
  Gradients g{like(kType, f.q.shape), like(kType, f.k.shape), like(kType, f.v.shape), {}, {}};
  FocusGradientOf<T> out;
  out.dq = g.dq.view<T, 4>();
  out.dk = g.dk.view<T, 4>();
  out.dv = g.dv.view<T, 4>();
  if (f.options.bias.data != nullptr) {
    g.dbias = like(DType::kF32, f.options.bias.shape);
    out.dbias = g.dbias.view<float, 4>();
  }
  if (f.options.sinks.data != nullptr) {
    g.dsinks = like(DType::kF32, f.options.sinks.shape);
    out.dsinks = g.dsinks.view<float, 1>();
  }
  backward(in, out);
  return g;
}

inline Gradients gradients(BackwardFunction<float>* backward, const FocusGradientInput& in) {
  return run_backward<float>(backward, in);
}

/// A bf16 copy of a contiguous or strided f32 view.
inline Tensor rounded(const View<const float, 4>& from) {
  Tensor to = like(DType::kBF16, from.shape);
  const auto x = to.view<bf16, 4>();
  for (std::int64_t b = 0; b < from.shape[0]; ++b) {
    for (std::int64_t h = 0; h < from.shape[1]; ++h) {
      for (std::int64_t i = 0; i < from.shape[2]; ++i) {
        for (std::int64_t d = 0; d < from.shape[3]; ++d) x(b, h, i, d) = to_bf16(from(b, h, i, d));
      }
    }
  }
  return to;
}

/// The same call with q, k, v, out and dout rounded to bf16.
inline Gradients gradients_in_bf16(BackwardFunction<bf16>* backward, const FocusGradientInput& in) {
  const Tensor q = rounded(in.forward.q);
  const Tensor k = rounded(in.forward.k);
  const Tensor v = rounded(in.forward.v);
  const Tensor out = rounded(in.out);
  const Tensor dout = rounded(in.dout);
  FocusGradientInputOf<bf16> bf;
  bf.forward = {q.view<bf16, 4>(), k.view<bf16, 4>(), v.view<bf16, 4>(), in.forward.options};
  bf.out = out.view<bf16, 4>();
  bf.lse = in.lse;
  bf.dout = dout.view<bf16, 4>();
  bf.dlse = in.dlse;
  Gradients g = run_backward<bf16>(backward, bf);
  for (Tensor* x : {&g.dq, &g.dk, &g.dv}) *x = Tensor::f32_from(std::as_const(*x).any());
  return g;
}

}  // namespace headscope::testing_support
