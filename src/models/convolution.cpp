#include "models/convolution.h"

#include <fmt/format.h>

#include <utility>

#include "headscope/threads.h"

namespace headscope::models {

Convolution::Convolution(Weights& weights, const Facts& facts) : facts_(facts) {
  if (facts.kernel < 1 || facts.kernel > 255 || facts.kernel % 2 == 0 || facts.groups < 1 ||
      facts.in % facts.groups != 0 || facts.out % facts.groups != 0) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[config.json] expected an odd kernel below 256 and groups that divide {} and {}, "
                            "found kernel {}, {} groups",
                            facts.in,
                            facts.out,
                            facts.kernel,
                            facts.groups));
  }
  const std::int64_t in = facts.in / facts.groups;
  const std::int64_t out = facts.out / facts.groups;
  const AnyView all = weights.at(facts.name + ".weight", {facts.out, in, facts.kernel});
  const AnyView bias = weights.bias(facts.name, facts.out);
  for (std::int64_t g = 0; g < facts.groups; ++g) {
    AnyView part{all.dtype, {out, in * facts.kernel}, all.data};
    part.data += static_cast<std::size_t>(g) * part.bytes();
    AnyView shift = bias;
    if (bias.data != nullptr) {
      shift.shape = {out};
      shift.data += static_cast<std::size_t>(g) * shift.bytes();
    }
    maps_.emplace_back(part, shift);
  }
}

Tensor Convolution::operator()(const Tensor& x) const {
  const auto from = x.view<float, 3>();
  const auto [B, T, C] = from.shape;
  const std::int64_t K = facts_.kernel;
  const std::int64_t rows = (T + facts_.stride - 1) / facts_.stride;
  const std::int64_t in = facts_.in / facts_.groups;
  Tensor y(DType::kF32, {B, rows, facts_.out});
  Tensor near(DType::kF32, {B * rows, in * K});  // [channel, neighbour], as the weights lie
  for (std::int64_t g = 0; g < facts_.groups; ++g) {
    parallel_for(B * rows, [&](std::int64_t r) {
      const std::int64_t middle = r % rows * facts_.stride;
      float* to = near.span<float>().data() + r * in * K;
      for (std::int64_t c = 0; c < in; ++c) {
        for (std::int64_t k = 0; k < K; ++k) {
          const std::int64_t t = middle + k - K / 2;
          *to++ = t < 0 || t >= T ? 0.0F : from(r / rows, t, g * in + c);
        }
      }
    });
    const std::int64_t out = facts_.out / facts_.groups;
    const View<float, 2> part(
        y.span<float>().data() + g * out, {B * rows, out}, {facts_.out, 1});
    maps_[static_cast<std::size_t>(g)](std::as_const(near).view<float, 2>(), part);
  }
  return y;
}

}  // namespace headscope::models
