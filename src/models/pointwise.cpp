#include "models/pointwise.h"

#include <algorithm>

#include "headscope/threads.h"

namespace headscope::models {

namespace {

// Rows in groups, so that a thread has something to do. Rows do not meet, so groups change no
// number.
template <typename F>
void by_rows(std::int64_t rows, std::int64_t width, F&& body) {
  const std::int64_t group = std::max<std::int64_t>(1, 32768 / std::max<std::int64_t>(1, width));
  parallel_for((rows + group - 1) / group,
               [&](std::int64_t n) { body(n * group, std::min(rows, (n + 1) * group)); });
}

}  // namespace

void normalise(const Norm& norm, float eps, View<float, 2> x) {
  const auto& table = kernels::table();
  by_rows(x.shape[0], x.shape[1], [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      float* row = x.data + i * x.stride[0];
      table.layer_norm(row,
                       norm.weight.span<float>().data(),
                       norm.bias.span<float>().data(),
                       eps,
                       x.shape[1],
                       row);
    }
  });
}

void add(View<const float, 2> x, View<float, 2> y) {
  by_rows(x.shape[0], x.shape[1], [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const float* from = x.data + i * x.stride[0];
      float* to = y.data + i * y.stride[0];
      for (std::int64_t c = 0; c < x.shape[1]; ++c) to[c] += from[c];
    }
  });
}

void activate(kernels::Activation kind, View<float, 2> x) {
  const auto& table = kernels::table();
  by_rows(x.shape[0], x.shape[1], [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      table.activate(kind, x.data + i * x.stride[0], x.shape[1]);
  });
}

}  // namespace headscope::models
