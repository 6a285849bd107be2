#include "attention/latent.h"

#include <cstring>
#include <utility>

#include "headscope/linear.h"
#include "headscope/threads.h"
#include "kernels/heads.h"
#include "kernels/isa.h"

namespace headscope {

namespace {

void norm_rows(View<float, 2> rows, const Tensor& weight, float eps) {
  const auto bodies = kernels::head_bodies(kernels::table().name);
  parallel_for(rows.shape[0], [&](std::int64_t i) {
    float* row = rows.data + i * rows.stride[0];
    bodies.rms_norm(row, weight.span<float>().data(), eps, weight.size(), row);
  });
}

}  // namespace

void project_latent(const AttentionWeights& w,
                    View<const float, 2> x,
                    View<float, 2> q,
                    View<float, 2> kv) {
  const LatentProjection& l = *w.latent;
  const std::int64_t M = x.shape[0];
  if (l.query_down == nullptr) {
    (*l.query)(x, q);
  } else {
    Tensor down(DType::kF32, {M, l.query_down->out()});
    (*l.query_down)(x, down.view<float, 2>());
    norm_rows(down.view<float, 2>(), l.query_norm, l.eps);
    (*l.query)(std::as_const(down).view<float, 2>(), q);
  }
  const std::int64_t rank = l.norm.size();
  Tensor down(DType::kF32, {M, rank + l.turned});
  (*l.down)(x, down.view<float, 2>());
  const auto small = down.view<float, 2>();
  norm_rows({small.data, {M, rank}, small.stride}, l.norm, l.eps);
  Tensor up(DType::kF32, {M, l.up->out()});
  (*l.up)({small.data, {M, rank}, small.stride}, up.view<float, 2>());
  const std::int64_t own = w.width - l.turned;
  const std::int64_t keys = w.heads * own;
  parallel_for(M, [&](std::int64_t i) {
    const auto copy = [](const float* from, std::int64_t n, float* to) {
      std::memcpy(to, from, static_cast<std::size_t>(n) * sizeof(float));
    };
    const float* from = up.span<float>().data() + i * l.up->out();
    float* row = kv.data + i * kv.stride[0];
    for (std::int64_t h = 0; h < w.heads; ++h) {
      copy(small.data + i * small.stride[0] + rank, l.turned, row + h * w.width);
      copy(from + h * own, own, row + h * w.width + l.turned);
    }
    copy(from + keys, w.heads * w.value_width, row + w.heads * w.width);
  });
}

}  // namespace headscope
