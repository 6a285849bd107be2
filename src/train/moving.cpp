// Moving pictures, made by chance or cut out of real videos, of which patches are hidden.
#include "media/moving.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "headscope/error.h"
#include "train/clips.h"
#include "train/draws.h"
#include "train/material.h"
#include "train/source.h"

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

// What a Batch's mask says of a patch.
constexpr std::uint8_t kShown = 0, kHidden = 1, kHalf = 2;

class MovingSource final : public Source {
 public:
  /// `made`: share of the clips that are made by chance; the others are cut out of `clips`.
  MovingSource(const media::MovingOptions& options,
               Cut cut,
               std::int64_t each,
               const Hiding& hiding,
               std::uint64_t seed,
               Clips clips = {},
               double made = 1.0)
      : options_(options),
        cut_(cut),
        each_(each),
        hiding_(hiding),
        seed_(seed),
        clips_(std::move(clips)),
        made_(made) {}

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
      const Tensor grey = pictures(i);
      float* to = &out.pixels.view<float, 5>()(s, 0, 0, 0, 0);
      for (const std::uint8_t g : grey.span<std::uint8_t>())
        *to++ = static_cast<float>(g) / 127.5F - 1.0F;
      for (std::int64_t p = 0; p < P; ++p) {
        const double chance = unit(draw(seed_ + 1, i, static_cast<std::uint64_t>(p)));
        out.mask.span<std::uint8_t>()[static_cast<std::size_t>(s * P + p)] =
            chance < hiding_.patches                    ? kHidden
            : chance < hiding_.patches + hiding_.halves ? kHalf
                                                        : kShown;
      }
    }
    cut_into_targets(out);
    hide_halves(out, n);
    return out;
  }
  [[nodiscard]] std::uint64_t pass() const override { return std::uint64_t{1} << 20; }

 private:
  /// Of clip i: u8 [frames,height,width].
  [[nodiscard]] Tensor pictures(std::uint64_t i) const {
    if (clips_.empty() || unit(draw(seed_ + 2, i)) < made_)
      return media::moving_pictures(options_, draw(seed_, i)).grey;
    Tensor grey(DType::kU8, {options_.frames, options_.height, options_.width});
    clips_.cut(draw(seed_, i), options_.frames, grey.span<std::uint8_t>().data());
    return grey;
  }
  /// `work(frame, y, x)` for the pixels of patch n of a batch, in the order in which the network reads them.
  template <typename Work>
  void each_pixel(std::int64_t n, Work&& work) const {
    const std::int64_t rows = options_.height / cut_.patch;
    const std::int64_t columns = options_.width / cut_.patch;
    const std::int64_t p = n % cut_.patches(options_);
    const std::int64_t first = p / (rows * columns) * cut_.tubelet;
    const std::int64_t top = p / columns % rows * cut_.patch;
    const std::int64_t left = p % columns * cut_.patch;
    for (std::int64_t f = first; f < first + cut_.tubelet; ++f) {
      for (std::int64_t y = top; y < top + cut_.patch; ++y) {
        for (std::int64_t x = left; x < left + cut_.patch; ++x) work(f, y, x);
      }
    }
  }
  void cut_into_targets(Batch& batch) const {
    const auto from = std::as_const(batch.pixels).view<float, 5>();
    const std::int64_t P = cut_.patches(options_);
    float* to = batch.targets.span<float>().data();
    for (std::int64_t n = 0; n < each_ * P; ++n)
      each_pixel(n, [&](auto f, auto y, auto x) { *to++ = from(n / P, f, 0, y, x); });
  }
  /// Grey where a half is hidden: the upper, the lower, the left or the right one.
  void hide_halves(Batch& batch, std::uint64_t which) const {
    const auto to = batch.pixels.view<float, 5>();
    const std::int64_t P = cut_.patches(options_);
    for (std::int64_t n = 0; n < each_ * P; ++n) {
      if (batch.mask.span<std::uint8_t>()[static_cast<std::size_t>(n)] != kHalf) continue;
      const std::uint64_t half = draw(seed_ + 3, which, static_cast<std::uint64_t>(n)) % 4;
      each_pixel(n, [&](auto f, auto y, auto x) {
        const bool second = (half < 2 ? y : x) % cut_.patch >= cut_.patch / 2;
        if (second == (half % 2 == 1)) to(n / P, f, 0, y, x) = 0.0F;
      });
    }
  }

  media::MovingOptions options_;
  Cut cut_;
  std::int64_t each_;
  Hiding hiding_;
  std::uint64_t seed_;
  Clips clips_;
  double made_;
};

std::int64_t number(const nlohmann::ordered_json& config, const char* key, std::int64_t otherwise) {
  const auto found = config.find(key);
  return found != config.end() && found->is_number_integer() ? found->get<std::int64_t>()
                                                             : otherwise;
}

/// What the config says of clips and patches, which must fit each other.
Cut cut_of(const Recipe& recipe, media::MovingOptions& options) {
  const auto config = nlohmann::ordered_json::parse(recipe.config);
  options = recipe.data.moving;
  Cut cut;
  options.frames = number(config, "num_frames", 16);
  options.height = options.width = number(config, "image_size", 224);
  cut.tubelet = number(config, "tubelet_size", 2);
  cut.patch = number(config, "patch_size", 16);
  if (number(config, "num_channels", 3) != 1 || cut.tubelet < 1 ||
      cut.patch < (recipe.hiding.halves > 0.0 ? 2 : 1) || options.frames % cut.tubelet != 0 ||
      options.height % cut.patch != 0) {
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
  return cut;
}

}  // namespace

void check_moving(const Recipe& recipe) {
  media::MovingOptions options;
  (void)cut_of(recipe, options);
}

Material moving_material(const Recipe& recipe, const std::filesystem::path& folder) {
  media::MovingOptions options;
  const Cut cut = cut_of(recipe, options);
  Material out;
  out.config = recipe.config + '\n';
  out.picture_rows = cut.patches(options);
  Clips clips(recipe.data.train, options.height);
  out.key = fmt::format("moving {} {} {} {} {} {} of {} clips",
                        options.step,
                        options.most,
                        options.things,
                        recipe.hiding.patches,
                        recipe.hiding.halves,
                        recipe.data.made,
                        recipe.data.train.size());
  write_preprocessor(folder, options.height, options.width);
  const auto& training = recipe.training;
  const std::int64_t each =
      std::max<std::int64_t>(1, training.batch_tokens / training.accumulate / out.picture_rows);
  out.train = std::make_unique<MovingSource>(
      options, cut, each, recipe.hiding, mixed(training.seed), std::move(clips), recipe.data.made);
  // Of a seed that no run has: those of recipes are mixed.
  constexpr std::uint64_t kValidSeed = 2024;
  out.valid = std::make_unique<MovingSource>(options, cut, 4, recipe.hiding, kValidSeed);
  return out;
}

}  // namespace headscope::train
