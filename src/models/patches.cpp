#include "models/patches.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "headscope/image.h"
#include "headscope/threads.h"
#include "media/taps.h"
#include "models/pointwise.h"

namespace headscope::models {

namespace {

std::int64_t pieces(std::int64_t size, std::int64_t each, bool pads) {
  return (size + (pads ? each - 1 : 0)) / each;
}

// Along one axis of [outer,n,inner].
Tensor along(View<const float, 3> from, std::int64_t to, media::Filter filter) {
  const auto [outer, n, inner] = from.shape;
  const media::Taps taps = media::taps(filter, n, to);
  Tensor out(DType::kF32, {outer, to, inner});
  const auto write = out.view<float, 3>();
  for (std::int64_t o = 0; o < outer; ++o) {
    for (std::int64_t t = 0; t < to; ++t) {
      const auto at = static_cast<std::size_t>(t);
      for (std::int64_t c = 0; c < inner; ++c) {
        double sum = 0.0;
        for (std::int64_t i = 0; i < taps.count[at]; ++i)
          sum += taps.weight(t)[i] * static_cast<double>(from(o, taps.first[at] + i, c));
        write(o, t, c) = static_cast<float>(sum);
      }
    }
  }
  return out;
}

}  // namespace

Patches::Patches(const Weights& weights, const PatchFacts& facts, std::int64_t C) : facts_(facts) {
  const PatchFacts& f = facts_;
  Shape shape{C, f.channels, f.patch_height, f.patch_width};
  if (f.tubelet > 1 || weights.at(f.projection + ".weight").shape.size() == 5)
    shape.insert(shape.begin() + 2, f.tubelet);
  AnyView weight = weights.at(f.projection + ".weight", shape);
  weight.shape = {C, weight.size() / C};
  projection_.emplace(weight, weights.bias(f.projection, C));
}

Grid Patches::trained() const {
  const PatchFacts& f = facts_;
  return {f.frames == 0 ? 1 : f.frames / f.tubelet,
          pieces(f.height, f.patch_height, f.pads),
          pieces(f.width, f.patch_width, f.pads)};
}

Grid Patches::grid(const Tensor& pixels) const {
  const PatchFacts& f = facts_;
  const bool video = f.frames > 0;
  const std::size_t rank = video ? 5 : 4;
  const Shape& s = pixels.shape();
  if (pixels.dtype() != DType::kF32 || s.size() != rank || s[0] < 1 || s[rank - 3] != f.channels) {
    throw Error(ErrorCode::kShape,
                fmt::format("[pixels] expected f32 [B,{}{},H,W], found {} {}",
                            video ? "frames," : "",
                            f.channels,
                            pixels.empty() ? "none" : name(pixels.dtype()),
                            to_string(s)));
  }
  const Grid grid{video ? s[1] / f.tubelet : 1,
                  pieces(s[rank - 2], f.patch_height, f.pads),
                  pieces(s[rank - 1], f.patch_width, f.pads)};
  if (grid.count() < 1) {
    throw Error(ErrorCode::kInput,
                fmt::format("[pixels] expected at least {} frames of {} x {}, found {}",
                            f.tubelet,
                            f.patch_height,
                            f.patch_width,
                            to_string(s)));
  }
  for (const float x : pixels.span<float>()) {
    if (!std::isfinite(x))
      throw Error(ErrorCode::kInput, fmt::format("[pixels] expected finite numbers, found {}", x));
  }
  return grid;
}

void unfold(const PatchFacts& f, const Tensor& pixels, const Grid& grid, float* rows) {
  const Shape& s = pixels.shape();
  const std::int64_t B = s[0];
  const std::int64_t frames = f.frames > 0 ? s[1] : 1;
  const std::int64_t H = s[s.size() - 2];
  const std::int64_t W = s.back();
  const View<const float, 5> from(pixels.span<float>().data(), {B, frames, f.channels, H, W});
  const std::int64_t K = f.channels * f.tubelet * f.patch_height * f.patch_width;
  parallel_for(B * grid.count(), [&](std::int64_t n) {
    const std::int64_t b = n / grid.count();
    const std::int64_t patch = n % grid.count();
    const std::int64_t left = patch % grid.columns * f.patch_width;
    const std::int64_t top = patch / grid.columns % grid.rows * f.patch_height;
    const std::int64_t first = patch / (grid.columns * grid.rows) * f.tubelet;
    float* to = rows + n * K;
    for (std::int64_t c = 0; c < f.channels; ++c) {
      for (std::int64_t t = 0; t < f.tubelet; ++t) {
        for (std::int64_t y = top; y < top + f.patch_height; ++y) {
          for (std::int64_t x = left; x < left + f.patch_width; ++x)
            *to++ = y < H && x < W ? from(b, first + t, c, y, x) : 0.0F;
        }
      }
    }
  });
}

Tensor Patches::operator()(const Tensor& pixels, const Grid& grid) const {
  const std::int64_t B = pixels.dim(0);
  Tensor unfolded(DType::kF32, {B * grid.count(), projection_->in()});
  unfold(facts_, pixels, grid, unfolded.span<float>().data());
  Tensor rows(DType::kF32, {B, grid.count(), projection_->out()});
  (*projection_)(rows_of(std::as_const(unfolded)), rows_of(rows));
  return rows;
}

ImageRules rules_for(const PatchFacts& facts, const std::filesystem::path& preprocessor_config) {
  ImageRules rules;
  rules.height = facts.height;
  rules.width = facts.width;
  std::error_code ignored;
  if (std::filesystem::exists(preprocessor_config, ignored))
    rules = ImageRules::read(preprocessor_config, rules);
  return rules;
}

Tensor pixels_for(const PatchFacts& facts,
                  View<const std::uint8_t, 4> rgb,
                  const std::filesystem::path& preprocessor_config) {
  const std::int64_t N = rgb.shape[0];
  if (N < 1) throw Error(ErrorCode::kInput, "[pixels] expected at least one picture, found none");
  const ImageRules rules = rules_for(facts, preprocessor_config);
  Tensor pixels;
  for (std::int64_t n = 0; n < N; ++n) {
    const Tensor one = pixels_from_rgb(rgb[n], rules, facts.channels);
    if (n == 0) {
      Shape shape = one.shape();
      shape.insert(shape.begin(), N);
      if (facts.frames > 0) shape.insert(shape.begin(), 1);
      pixels = Tensor(DType::kF32, shape);
    }
    std::copy_n(
        one.span<float>().begin(), one.size(), pixels.span<float>().begin() + n * one.size());
  }
  return pixels;
}

Tensor fitted(View<const float, 3> table, std::int64_t rows, std::int64_t columns, Fit fit) {
  media::Filter filter = media::Filter::kCubic;
  if (fit == Fit::kBicubicSmooth) filter = media::Filter::kSmoothCubic;
  if (fit == Fit::kNearest) filter = media::Filter::kNearest;
  const auto [R, K, C] = table.shape;
  const Tensor wide = along(table, columns, filter);  // [R,columns,C]
  const View<const float, 3> tall(wide.span<float>().data(), {1, R, columns * C});
  const Tensor both = along(tall, rows, filter);
  Tensor out(DType::kF32, {rows, columns, C});
  std::copy_n(both.span<float>().begin(), both.size(), out.span<float>().begin());
  return out;
}

Tensor sinusoid_table(std::int64_t rows, std::int64_t C) {
  Tensor table(DType::kF32, {rows, C});
  for (std::int64_t p = 0; p < rows; ++p) {
    for (std::int64_t c = 0; c < C; ++c) {
      const double exponent = 2.0 * static_cast<double>(c / 2) / static_cast<double>(C);
      const double angle = static_cast<double>(p) / std::pow(10000.0, exponent);
      table.view<float, 2>()(p, c) =
          static_cast<float>(c % 2 == 0 ? std::sin(angle) : std::cos(angle));
    }
  }
  return table;
}

}  // namespace headscope::models
