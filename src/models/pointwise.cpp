#include "models/pointwise.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "headscope/threads.h"
#include "kernels/heads.h"

namespace headscope::models {

namespace {

// Rows in groups, so that a thread has something to do. Rows do not meet, so groups change no
// number.
template <typename F>
void by_rows(std::int64_t rows, std::int64_t width, F&& body) {
  const std::int64_t group = std::max<std::int64_t>(1, 32768 / std::max<std::int64_t>(1, width));
  parallel_for((rows + group - 1) / group, [&](std::int64_t n) {
    for (std::int64_t i = n * group; i < std::min(rows, (n + 1) * group); ++i) body(i);
  });
}

const float* data_of(const Tensor& t) { return t.empty() ? nullptr : t.span<float>().data(); }

}  // namespace

void normalise(const Norm& norm, View<const float, 2> x, View<float, 2> y) {
  const auto& table = kernels::table();
  const auto bodies = kernels::head_bodies(table.name);
  const float* weight = data_of(norm.weight);
  const float* bias = data_of(norm.bias);
  const std::int64_t C = x.shape[1];
  by_rows(x.shape[0], C, [&](std::int64_t i) {
    const float* from = x.data + i * x.stride[0];
    float* to = y.data + i * y.stride[0];
    if (norm.kind == HeadNorm::Kind::kRms)
      bodies.rms_norm(from, weight, norm.eps, C, to);
    else if (norm.kind == HeadNorm::Kind::kLayer)
      table.layer_norm(from, weight, bias, norm.eps, C, to);
    else if (from != to)
      std::memcpy(to, from, static_cast<std::size_t>(C) * sizeof(float));
  });
}

void normalise(const Norm& norm, View<float, 2> x) { normalise(norm, x, x); }

void add(View<const float, 2> x, View<float, 2> y, float factor) {
  by_rows(x.shape[0], x.shape[1], [&](std::int64_t i) {
    const float* from = x.data + i * x.stride[0];
    float* to = y.data + i * y.stride[0];
    for (std::int64_t c = 0; c < x.shape[1]; ++c) to[c] += factor * from[c];
  });
}

void activate(kernels::Activation kind, View<float, 2> x) {
  const auto& table = kernels::table();
  by_rows(x.shape[0], x.shape[1], [&](std::int64_t i) {
    table.activate(kind, x.data + i * x.stride[0], x.shape[1]);
  });
}

void multiply(View<const float, 2> y, View<float, 2> x) {
  by_rows(x.shape[0], x.shape[1], [&](std::int64_t i) {
    const float* from = y.data + i * y.stride[0];
    float* to = x.data + i * x.stride[0];
    for (std::int64_t c = 0; c < x.shape[1]; ++c) to[c] *= from[c];
  });
}

Tensor unit_rows(const Tensor& x) {
  Tensor out = x.clone();
  for (std::int64_t b = 0; b < x.dim(0); ++b) {
    const auto row = out.view<float, 2>()[b];
    double squares = 0.0;
    for (std::int64_t c = 0; c < row.shape[0]; ++c)
      squares += std::pow(static_cast<double>(row(c)), 2);
    const double length = squares > 0.0 ? std::sqrt(squares) : 1.0;
    for (std::int64_t c = 0; c < row.shape[0]; ++c)
      row(c) = static_cast<float>(static_cast<double>(row(c)) / length);
  }
  return out;
}

View<const float, 2> rows_of(const Tensor& x) {
  const Shape& s = x.shape();
  return View<const float, 2>(x.span<float>().data(), {x.size() / s.back(), s.back()});
}

View<float, 2> rows_of(Tensor& x) {
  const Shape& s = x.shape();
  return View<float, 2>(x.span<float>().data(), {x.size() / s.back(), s.back()});
}

}  // namespace headscope::models
