// Pictures with a class each, for models that see.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "formats/idx.h"
#include "headscope/error.h"
#include "headscope/safetensors.h"
#include "train/draws.h"
#include "train/material.h"

namespace headscope::train {

namespace fs = std::filesystem;

namespace {

/// Grey pictures [N,H,W] and their classes [N].
struct Pictures {
  Tensor grey, classes;
  std::int64_t count = 0, height = 0, width = 0;
};

Pictures read(const std::vector<fs::path>& paths) {
  if (paths.size() != 2) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[data] expected two IDX files, pictures and their classes, found {}",
                            paths.size()));
  }
  Pictures out;
  out.grey = read_idx(paths[0]);
  out.classes = read_idx(paths[1]);
  if (out.grey.shape().size() != 3 || out.classes.shape().size() != 1 ||
      out.grey.dim(0) != out.classes.dim(0)) {
    throw Error(
        ErrorCode::kShape,
        fmt::format("[data] expected pictures [N,H,W] and classes [N], found {} in {} and {} in {}",
                    to_string(out.grey.shape()),
                    paths[0].string(),
                    to_string(out.classes.shape()),
                    paths[1].string()));
  }
  out.count = out.grey.dim(0);
  out.height = out.grey.dim(1);
  out.width = out.grey.dim(2);
  return out;
}

/// Each picture once before any comes again, in another order every time; in training moved and mirrored by chance.
class PictureSource final : public Source {
 public:
  /// Batches from `still` on hold the pictures as they are.
  PictureSource(Pictures pictures,
                std::int64_t each,
                std::uint64_t seed,
                const Change& change,
                std::uint64_t still)
      : pictures_(std::move(pictures)), each_(each), seed_(seed), change_(change), still_(still) {}

  [[nodiscard]] Batch batch(std::uint64_t n) const override {
    const auto all = static_cast<std::uint64_t>(pictures_.count);
    Batch out;
    out.pixels = Tensor(DType::kF32, {each_, 1, pictures_.height, pictures_.width});
    out.labels = Tensor(DType::kI32, {each_});
    const auto classes = pictures_.classes.span<std::uint8_t>();
    for (std::int64_t s = 0; s < each_; ++s) {
      const std::uint64_t i = n * static_cast<std::uint64_t>(each_) + static_cast<std::uint64_t>(s);
      const std::uint64_t picture = shuffled(i % all, all, draw(seed_, 0, i / all));
      draw_picture(static_cast<std::int64_t>(picture),
                   draw(seed_ + 1, i),
                   n < still_ ? change_ : Change{},
                   &out.pixels.view<float, 4>()(s, 0, 0, 0));
      out.labels.span<std::int32_t>()[static_cast<std::size_t>(s)] = classes[picture];
    }
    return out;
  }
  [[nodiscard]] std::uint64_t pass() const override {
    return static_cast<std::uint64_t>((pictures_.count + each_ - 1) / each_);
  }

 private:
  /// As numbers from -1 to 1; what comes in from beyond the edge is black.
  void draw_picture(std::int64_t picture,
                    std::uint64_t chance,
                    const Change& change,
                    float* to) const {
    const std::int64_t H = pictures_.height;
    const std::int64_t W = pictures_.width;
    const auto step = [&](std::uint64_t which) {
      const auto places = static_cast<std::uint64_t>(2 * change.shift + 1);
      return static_cast<std::int64_t>(below(draw(chance, which), places)) - change.shift;
    };
    const std::int64_t down = step(0);
    const std::int64_t right = step(1);
    const bool mirrored = change.mirror && (draw(chance, 2) & 1U) != 0;
    const std::uint8_t* from = pictures_.grey.span<std::uint8_t>().data() + picture * H * W;
    for (std::int64_t y = 0; y < H; ++y) {
      for (std::int64_t x = 0; x < W; ++x) {
        const std::int64_t row = y - down;
        const std::int64_t column = (mirrored ? W - 1 - x : x) - right;
        const bool inside = row >= 0 && row < H && column >= 0 && column < W;
        const int grey = inside ? from[row * W + column] : 0;
        to[y * W + x] = static_cast<float>(grey) / 127.5F - 1.0F;
      }
    }
  }

  Pictures pictures_;
  std::int64_t each_;
  std::uint64_t seed_;
  Change change_;
  std::uint64_t still_;
};

std::int64_t number(const nlohmann::ordered_json& config, const char* key, std::int64_t otherwise) {
  const auto found = config.find(key);
  return found != config.end() && found->is_number_integer() ? found->get<std::int64_t>()
                                                             : otherwise;
}

/// Rows of the model for one picture.
std::int64_t rows_of(const nlohmann::ordered_json& config, const Pictures& pictures) {
  const std::int64_t size = number(config, "image_size", 224);
  const std::int64_t patch = number(config, "patch_size", 16);
  const std::int64_t channels = number(config, "num_channels", 3);
  if (size != pictures.height || size != pictures.width || channels != 1 || patch < 1 ||
      size % patch != 0) {
    throw Error(
        ErrorCode::kShape,
        fmt::format(
            "[model] expected image_size {0}, num_channels 1 and a patch_size that divides it, for "
            "pictures of {0} x {1}, found {2}, {3} and {4}",
            pictures.height,
            pictures.width,
            size,
            channels,
            patch));
  }
  return size / patch * (size / patch) + 1;
}

}  // namespace

void write_preprocessor(const fs::path& folder, std::int64_t height, std::int64_t width) {
  const nlohmann::ordered_json rules = {{"image_processor_type", "ViTImageProcessor"},
                                        {"do_resize", true},
                                        {"size", {{"height", height}, {"width", width}}},
                                        {"do_rescale", true},
                                        {"rescale_factor", 1.0 / 255.0},
                                        {"do_normalize", true},
                                        {"image_mean", {0.5}},
                                        {"image_std", {0.5}}};
  write_file(folder / "preprocessor_config.json", std::string_view(rules.dump(2) + '\n'));
}

Material picture_material(const Recipe& recipe, const fs::path& folder) {
  Material out;
  const auto config = nlohmann::ordered_json::parse(recipe.config);
  Pictures pictures = read(recipe.data.train);
  out.config = recipe.config + '\n';
  out.picture_rows = rows_of(config, pictures);
  out.key = fmt::format(
      "{} pictures, {} {}", pictures.count, recipe.data.change.shift, recipe.data.change.mirror);
  write_preprocessor(folder, pictures.height, pictures.width);
  const auto& training = recipe.training;
  const std::int64_t each = training.batch_tokens / training.accumulate / out.picture_rows;
  const auto changed = static_cast<std::uint64_t>(
      std::llround((1.0 - recipe.data.still) * static_cast<double>(recipe.schedule.steps)));
  out.train =
      std::make_unique<PictureSource>(std::move(pictures),
                                      std::max<std::int64_t>(1, each),
                                      training.seed,
                                      recipe.data.change,
                                      changed * static_cast<std::uint64_t>(training.accumulate));
  if (recipe.data.valid.empty()) return out;
  pictures = read(recipe.data.valid);
  (void)rows_of(config, pictures);
  // A number of pictures that divides theirs, so that a pass sees each once.
  std::int64_t part = std::min<std::int64_t>(100, pictures.count);
  while (pictures.count % part != 0) --part;
  constexpr std::uint64_t kValidSeed = 2024;
  out.valid = std::make_unique<PictureSource>(std::move(pictures), part, kValidSeed, Change{}, 0);
  return out;
}

}  // namespace headscope::train
