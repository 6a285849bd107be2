// What preprocessor_config.json says of pictures.
#include <fmt/format.h>

#include <algorithm>

#include "formats/json.h"
#include "headscope/image.h"
#include "headscope/safetensors.h"

namespace headscope {

namespace {

using json::Value;

constexpr std::int64_t kMostSide = 1 << 14;

// What a type of processor means by keys that a file leaves out.
struct Kind {
  std::string_view name;  // in front of ImageProcessor or FeatureExtractor
  ImageRules::Filter filter;
  std::int64_t size;
  bool square;
  std::int64_t crop;  // 0: none
  bool clip_numbers;  // CLIP's mean and deviation
};

constexpr Kind kKinds[] = {{"ViT", ImageRules::Filter::kBilinear, 224, true, 0, false},
                           {"DeiT", ImageRules::Filter::kBicubic, 256, true, 224, false},
                           {"Beit", ImageRules::Filter::kBicubic, 256, true, 224, false},
                           {"CLIP", ImageRules::Filter::kBicubic, 224, false, 224, true},
                           {"Siglip", ImageRules::Filter::kBicubic, 224, true, 0, false},
                           {"VideoMAE", ImageRules::Filter::kBilinear, 224, false, 224, false},
                           {"Bit", ImageRules::Filter::kBicubic, 224, false, 224, true}};

std::int64_t side(const Value& size, std::string_view key, std::string_view where) {
  const auto n = json::require<std::int64_t>(size, key, where);
  if (n < 1 || n > kMostSide) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[{}] expected {} 1..{}, found {}", where, key, kMostSide, n));
  }
  return n;
}

void read_size(const Value& config, bool square, ImageRules& rules, std::string_view where) {
  const Value* size = json::find(config, "size", where);
  if (size == nullptr) return;
  rules.shortest = 0;
  if (!size->is_object()) {
    const std::int64_t n = side(config, "size", where);
    rules.height = rules.width = n;
    if (!square) rules.shortest = n;
  } else if (size->contains("height")) {
    rules.height = side(*size, "height", where);
    rules.width = side(*size, "width", where);
  } else if (size->contains("shortest_edge")) {
    rules.shortest = side(*size, "shortest_edge", where);
  } else {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[{}] expected a size with height and width or shortest_edge, found {}",
                            where,
                            json::describe(*size)));
  }
}

void read_crop(const Value& config, ImageRules& rules, std::string_view where) {
  rules.crop = json::get_or<bool>(config, "do_center_crop", rules.crop, where);
  const Value* size = json::find(config, "crop_size", where);
  if (size == nullptr) return;
  const bool both = size->is_object();
  rules.crop_height = both ? side(*size, "height", where) : side(config, "crop_size", where);
  rules.crop_width = both ? side(*size, "width", where) : rules.crop_height;
}

ImageRules::Filter filter_numbered(std::int64_t n, std::string_view where) {
  if (n < 0 || n > 5) {
    throw Error(ErrorCode::kFormat, fmt::format("[{}] expected resample 0..5, found {}", where, n));
  }
  return static_cast<ImageRules::Filter>(n);
}

std::vector<double> three(const Value& config,
                          std::string_view key,
                          const std::vector<double>& fallback,
                          std::string_view where) {
  const Value* list = json::find(config, key, where);
  if (list == nullptr) return fallback;
  const auto out = list->is_array() ? json::as<std::vector<double>>(*list, key, where)
                                    : std::vector<double>{json::as<double>(*list, key, where)};
  const bool zero = key == "image_std" && std::count(out.begin(), out.end(), 0.0) > 0;
  if ((out.size() != 1 && out.size() != 3) || zero) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[{}] expected {} to be 1 or 3 numbers other than 0, found {}",
                            where,
                            key,
                            json::describe(*list)));
  }
  return out;
}

const Kind* kind_of(const Value& config, std::string_view where) {
  std::string type = json::get_or<std::string>(config, "image_processor_type", "", where);
  if (type.empty()) type = json::get_or<std::string>(config, "feature_extractor_type", "", where);
  if (type.empty()) return nullptr;
  for (const Kind& kind : kKinds) {
    const std::string_view rest = std::string_view(type).substr(std::min(type.size(), kind.name.size()));
    if (type.starts_with(kind.name) &&
        (rest == "ImageProcessor" || rest == "ImageProcessorFast" || rest == "FeatureExtractor"))
      return &kind;
  }
  throw Error(ErrorCode::kUnsupported,
              fmt::format("[{}] expected an image_processor_type of ViT, DeiT, Beit, CLIP, Siglip, "
                          "VideoMAE or Bit, found {}",
                          where,
                          json::quote(type)));
}

void start_from(const Kind& kind, ImageRules& rules) {
  rules.filter = kind.filter;
  rules.height = rules.width = kind.size;
  rules.shortest = kind.square ? 0 : kind.size;
  rules.crop = kind.crop > 0;
  if (rules.crop) rules.crop_height = rules.crop_width = kind.crop;
  rules.mean = rules.deviation = {0.5, 0.5, 0.5};
  if (kind.clip_numbers) {
    rules.mean = {0.48145466, 0.4578275, 0.40821073};
    rules.deviation = {0.26862954, 0.26130258, 0.27577711};
  }
}

}  // namespace

ImageRules ImageRules::parse(std::string_view text, std::string_view name, const ImageRules& defaults) {
  const Value config = json::parse(text, name);
  ImageRules rules = defaults;
  const Kind* kind = kind_of(config, name);
  if (kind != nullptr) start_from(*kind, rules);
  if (json::find(config, "crop_pct", name) != nullptr) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[{}] expected a crop by crop_size, found crop_pct", name));
  }
  rules.resize = json::get_or<bool>(config, "do_resize", rules.resize, name);
  read_size(config, kind == nullptr || kind->square, rules, name);
  read_crop(config, rules, name);
  if (json::find(config, "resample", name) != nullptr)
    rules.filter = filter_numbered(json::require<std::int64_t>(config, "resample", name), name);
  rules.rescale = json::get_or<double>(config, "rescale_factor", rules.rescale, name);
  if (!json::get_or<bool>(config, "do_rescale", true, name)) rules.rescale = 1.0;
  rules.mean = three(config, "image_mean", rules.mean, name);
  rules.deviation = three(config, "image_std", rules.deviation, name);
  if (!json::get_or<bool>(config, "do_normalize", true, name)) {
    rules.mean.clear();
    rules.deviation.clear();
  }
  return rules;
}

ImageRules ImageRules::read(const std::filesystem::path& file, const ImageRules& defaults) {
  return parse(read_file(file, std::size_t{1} << 20), file.filename().string(), defaults);
}

}  // namespace headscope
