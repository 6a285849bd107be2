// Moving pictures of which patches are hidden, for models of videos.
#include "media/moving.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "headscope/error.h"
#include "train/draws.h"
#include "train/material.h"

namespace headscope::train {

namespace {

/// What the config says of the patches.
struct Cut {
  std::int64_t tubelet = 1, patch = 4;
  [[nodiscard]] std::int64_t patches(const media::MovingOptions& o) const {
    return o.frames / tubelet * (o.height / patch) * (o.width / patch);
  }
  [[nodiscard]] std::int64_t pixels() const { return tubelet * patch * patch; }
};

class MovingSource final : public Source {
 public:
  MovingSource(const media::MovingOptions& options,
               Cut cut,
               std::int64_t each,
               double hidden,
               std::uint64_t seed)
      : options_(options), cut_(cut), each_(each), hidden_(hidden), seed_(seed) {}

  [[nodiscard]] Batch batch(std::uint64_t n) const override {
    const std::int64_t F = options_.frames;
    const std::int64_t H = options_.height;
    const std::int64_t W = options_.width;
    const std::int64_t P = cut_.patches(options_);
    Batch out;
    out.pixels = Tensor(DType::kF32, {each_, F, 1, H, W});
    out.mask = Tensor(DType::kU8, {each_ * P});
    out.targets = Tensor(DType::kF32, {each_ * P, cut_.pixels()});
    for (std::int64_t s = 0; s < each_; ++s) {
      const std::uint64_t i = n * static_cast<std::uint64_t>(each_) + static_cast<std::uint64_t>(s);
      const media::Moving moving = media::moving_pictures(options_, draw(seed_, i));
      float* to = &out.pixels.view<float, 5>()(s, 0, 0, 0, 0);
      for (const std::uint8_t grey : moving.grey.span<std::uint8_t>())
        *to++ = static_cast<float>(grey) / 127.5F - 1.0F;
      for (std::int64_t p = 0; p < P; ++p)
        out.mask.span<std::uint8_t>()[static_cast<std::size_t>(s * P + p)] =
            unit(draw(seed_ + 1, i, static_cast<std::uint64_t>(p))) < hidden_ ? 1 : 0;
    }
    cut_into_targets(out);
    return out;
  }
  [[nodiscard]] std::uint64_t pass() const override { return std::uint64_t{1} << 20; }

 private:
  /// Pixels of each patch, in the order in which the network reads them: frame, row, column.
  void cut_into_targets(Batch& batch) const {
    const auto from = std::as_const(batch.pixels).view<float, 5>();
    const std::int64_t rows = options_.height / cut_.patch;
    const std::int64_t columns = options_.width / cut_.patch;
    const std::int64_t P = cut_.patches(options_);
    float* to = batch.targets.span<float>().data();
    for (std::int64_t n = 0; n < each_ * P; ++n) {
      const std::int64_t p = n % P;
      const std::int64_t first = p / (rows * columns) * cut_.tubelet;
      const std::int64_t top = p / columns % rows * cut_.patch;
      const std::int64_t left = p % columns * cut_.patch;
      for (std::int64_t f = first; f < first + cut_.tubelet; ++f) {
        for (std::int64_t y = top; y < top + cut_.patch; ++y) {
          for (std::int64_t x = left; x < left + cut_.patch; ++x) *to++ = from(n / P, f, 0, y, x);
        }
      }
    }
  }

  media::MovingOptions options_;
  Cut cut_;
  std::int64_t each_;
  double hidden_;
  std::uint64_t seed_;
};

std::int64_t number(const nlohmann::ordered_json& config, const char* key, std::int64_t otherwise) {
  const auto found = config.find(key);
  return found != config.end() && found->is_number_integer() ? found->get<std::int64_t>()
                                                             : otherwise;
}

}  // namespace

Material moving_material(const Recipe& recipe, const std::filesystem::path& folder) {
  const auto config = nlohmann::ordered_json::parse(recipe.config);
  media::MovingOptions options = recipe.data.moving;
  Cut cut;
  options.frames = number(config, "num_frames", 16);
  options.height = options.width = number(config, "image_size", 224);
  cut.tubelet = number(config, "tubelet_size", 2);
  cut.patch = number(config, "patch_size", 16);
  if (number(config, "num_channels", 3) != 1 || cut.tubelet < 1 || cut.patch < 1 ||
      options.frames % cut.tubelet != 0 || options.height % cut.patch != 0) {
    throw Error(
        ErrorCode::kShape,
        fmt::format("[model] expected num_channels 1, a tubelet_size that divides {} frames "
                    "and a patch_size that divides {} pixels, found {}, {} and {}",
                    options.frames,
                    options.height,
                    number(config, "num_channels", 3),
                    cut.tubelet,
                    cut.patch));
  }
  (void)media::moving_pictures(options, 0);  // Says at once what does not fit.
  Material out;
  out.config = recipe.config + '\n';
  out.picture_rows = cut.patches(options);
  out.key = fmt::format(
      "moving {} {} {} {}", options.step, options.most, options.things, recipe.hiding.patches);
  write_preprocessor(folder, options.height, options.width);
  const auto& training = recipe.training;
  const std::int64_t each =
      std::max<std::int64_t>(1, training.batch_tokens / training.accumulate / out.picture_rows);
  out.train = std::make_unique<MovingSource>(
      options, cut, each, recipe.hiding.patches, mixed(training.seed));
  // Of a seed that no run has: those of recipes are mixed.
  constexpr std::uint64_t kValidSeed = 2024;
  out.valid = std::make_unique<MovingSource>(options, cut, 4, recipe.hiding.patches, kValidSeed);
  return out;
}

}  // namespace headscope::train
