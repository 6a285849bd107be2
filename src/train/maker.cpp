#include "train/maker.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "models/census.h"
#include "models/words.h"

namespace headscope::train {

namespace {

constexpr std::string_view kTexts[] = {
    "bert", "gpt2", "llama", "mistral", "modernbert", "qwen2", "roberta"};
constexpr std::string_view kPictures[] = {"deit", "vit"};
constexpr std::string_view kVideos[] = {"videomae"};

// SplitMix64 (Steele 2014) from a seed and a name, so that no parameter depends on those before it.
class Random {
 public:
  Random(std::uint64_t seed, const std::string& name) : state_(seed) {
    for (const char c : name) state_ = next() ^ static_cast<unsigned char>(c);
  }
  std::uint64_t next() {
    std::uint64_t x = state_ += 0x9E3779B97F4A7C15ULL;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
    return x ^ (x >> 31);
  }
  // Box & Muller 1958.
  double normal() {
    const double u = (static_cast<double>(next() >> 11) + 1.0) * 0x1p-53;
    const double v = static_cast<double>(next() >> 11) * 0x1p-53;
    return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
  }

 private:
  std::uint64_t state_;
};

// Which maps and norms of a family have a bias, as config.json says.
bool by_config(const json::Value& config, const std::string& name) {
  const auto type = json::require<std::string>(config, "model_type", "config.json");
  if (std::ranges::find(kTexts, type) != std::end(kTexts)) return models::biased(config, name);
  const auto ends = [&](std::string_view ending) { return name.ends_with(ending); };
  const auto has = [&](std::string_view part) { return name.find(part) != std::string::npos; };
  const auto flag = [&](std::string_view key, bool fallback) {
    return models::flag_or(config, key, fallback);
  };
  if (type == "vit" || type == "deit") {
    const bool projects = has("attention.attention.");
    return !projects || flag("qkv_bias", true);
  }
  if (type == "videomae") {
    if (!has("attention.attention.")) return true;
    return !ends("key") && flag("qkv_bias", true);
  }
  throw Error(ErrorCode::kUnsupported,
              fmt::format("[train] expected one of {}, {}, {} to draw weights for, found {}",
                          fmt::join(kTexts, ", "),
                          fmt::join(kPictures, ", "),
                          fmt::join(kVideos, ", "),
                          json::quote(type)));
}

}  // namespace

std::span<const std::string_view> drawn_families(Reads what) {
  if (what == Reads::kTokens) return kTexts;
  if (what == Reads::kPictures) return kPictures;
  return kVideos;
}

Maker::Maker(Start start, std::vector<Parameter>& parameters)
    : start_(std::move(start)), parameters_(parameters) {
  range_ = models::number_or(*start_.config, "initializer_range", 0.02);
  if (!(range_ > 0.0) || !std::isfinite(range_)) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[config.json] expected initializer_range above 0, found {}", range_));
  }
}

std::string Maker::in_file(const std::string& name) const {
  for (const auto& [file, facts] : start_.renamed) {
    if (name.ends_with(facts)) return name.substr(0, name.size() - facts.size()) + file;
  }
  return name;
}

const AnyView* Maker::find(const std::string& name) const {
  if (start_.file == nullptr) return nullptr;
  if (const AnyView* found = start_.file->find(in_file(name))) return found;
  return start_.file->find(name);
}

Tensor Maker::drawn(const std::string& name, const Shape& shape, Draw draw) const {
  Tensor t = Tensor::zeros(DType::kF32, shape);
  if (draw == Draw::kZero) return t;
  if (draw == Draw::kOne) {
    std::ranges::fill(t.span<float>(), 1.0F);
    return t;
  }
  const double layers = static_cast<double>(start_.layers);
  const double width = draw == Draw::kResidual ? range_ / std::sqrt(2.0 * layers) : range_;
  Random random(start_.seed, name);
  for (float& x : t.span<float>()) x = static_cast<float>(width * random.normal());
  return t;
}

Parameter* Maker::tensor(const std::string& name, Shape shape, Draw draw, bool decays, bool top) {
  Parameter p;
  p.name = (top ? "" : start_.prefix) + in_file(name);
  p.decays = decays;
  if (start_.dry) return put(std::move(p));
  const AnyView* found = find(name);
  if (found == nullptr) {
    p.value = drawn(p.name, shape, draw);
  } else {
    if (found->shape != shape) {
      throw Error(ErrorCode::kShape,
                  fmt::format("[{}] expected {} {}, found {}",
                              start_.file->tensors().file,
                              p.name,
                              to_string(shape),
                              to_string(found->shape)));
    }
    p.value = Tensor::f32_from(*found);
  }
  p.gradient = Tensor::zeros(DType::kF32, std::move(shape));
  return put(std::move(p));
}

Parameter* Maker::put(Parameter p) {
  if (parameters_.size() == parameters_.capacity())
    throw Error(ErrorCode::kInternal, "[train] expected room for every parameter");
  parameters_.push_back(std::move(p));
  return &parameters_.back();
}

bool Maker::biased(const std::string& name) const {
  const bool there = find(name + ".weight") != nullptr || find(name + ".gamma") != nullptr;
  if (there) return find(name + ".bias") != nullptr || find(name + ".beta") != nullptr;
  return by_config(*start_.config, name);
}

Map Maker::map(const std::string& name, std::int64_t in, std::int64_t out, Draw draw) {
  Map map;
  map.turned = start_.matrices == Linear::Layout::kInOut;
  map.weight = tensor(name + ".weight", map.turned ? Shape{in, out} : Shape{out, in}, draw, true);
  map.weight->inner = true;
  if (biased(name)) map.bias = tensor(name + ".bias", {out}, Draw::kZero, false);
  return map;
}

Map Maker::top(const std::string& name, std::int64_t in, std::int64_t out) {
  Map map;
  map.weight = tensor(name + ".weight", {out, in}, Draw::kNormal, true, true);
  if (biased(name)) map.bias = tensor(name + ".bias", {out}, Draw::kZero, false, true);
  return map;
}

NormPart Maker::norm(const std::string& name,
                     std::int64_t width,
                     const models::NormFacts& facts,
                     bool top) {
  if (facts.plus_one || facts.bare) {
    throw Error(
        ErrorCode::kUnsupported,
        fmt::format("[train] expected norms with weights of their own, found {}",
                    facts.bare ? "norms without weights" : "weights stored without their 1"));
  }
  NormPart part{facts.kind, facts.eps, nullptr, nullptr};
  // Files of 2018 say gamma and beta.
  const bool old = find(name + ".weight") == nullptr && find(name + ".gamma") != nullptr;
  part.weight = tensor(name + (old ? ".gamma" : ".weight"), {width}, Draw::kOne, false, top);
  if (facts.kind == HeadNorm::Kind::kLayer && biased(name))
    part.bias = tensor(name + (old ? ".beta" : ".bias"), {width}, Draw::kZero, false, top);
  return part;
}

}  // namespace headscope::train
