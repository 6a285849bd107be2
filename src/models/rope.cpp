#include "models/rope.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace headscope::models {

namespace {

constexpr const char* kWhere = "config.json";
using json::Value;

// The object that holds the words, and whether it is a new one (then the base is in it, too).
struct Words {
  const Value* scaling = nullptr;
  bool fresh = false;
};

Words words_of(const Value& config, const RopeDefaults& d) {
  if (const Value* all = json::find(config, "rope_parameters", kWhere)) {
    if (d.layer_type.empty()) return {all, true};
    const Value* own = json::find(*all, d.layer_type, kWhere);
    return {own != nullptr ? own : all, true};
  }
  return {d.scaled ? json::find(config, "rope_scaling", kWhere) : nullptr, false};
}

Rope::Kind kind_of(const std::string& name) {
  using Kind = Rope::Kind;
  static const std::pair<const char*, Kind> kNames[] = {{"default", Kind::kDefault},
                                                        {"linear", Kind::kLinear},
                                                        {"dynamic", Kind::kDynamic},
                                                        {"yarn", Kind::kYarn},
                                                        {"longrope", Kind::kLongRope},
                                                        {"su", Kind::kLongRope},
                                                        {"llama3", Kind::kLlama3}};
  std::string known;
  for (const auto& [word, kind] : kNames) {
    if (name == word) return kind;
    known += (known.empty() ? "" : ", ") + std::string(word);
  }
  throw Error(
      ErrorCode::kUnsupported,
      fmt::format(
          "[config.json] expected a rope type among {}, found {}", known, json::quote(name)));
}

double positive(double x, std::string_view what) {
  if (std::isfinite(x) && x > 0.0) return x;
  throw Error(ErrorCode::kFormat,
              fmt::format("[config.json] expected {} above 0, found {}", what, x));
}

double magnitude(double factor, double mscale) {
  return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

double yarn_attention_factor(const Value& words, double factor) {
  const double m = json::get_or<double>(words, "mscale", 0.0, kWhere);
  const double all = json::get_or<double>(words, "mscale_all_dim", 0.0, kWhere);
  return m != 0.0 && all != 0.0 ? magnitude(factor, m) / magnitude(factor, all)
                                : magnitude(factor, 1.0);
}

std::vector<double> factors_of(const Value& words, const char* key, std::int64_t width) {
  auto list = json::require<std::vector<double>>(words, key, kWhere);
  if (static_cast<std::int64_t>(list.size()) != width / 2) {
    throw Error(
        ErrorCode::kFormat,
        fmt::format(
            "[config.json] expected {} numbers in {}, found {}", width / 2, key, list.size()));
  }
  for (const double x : list) positive(x, key);
  return list;
}

void read_scaling(const Value& config, const Value& words, Rope& rope) {
  using Kind = Rope::Kind;
  const double most = json::get_or<double>(config, "max_position_embeddings", 2048.0, kWhere);
  const Value* early = json::find(config, "original_max_position_embeddings", kWhere);
  rope.original = early != nullptr
                      ? json::as<double>(*early, "original_max_position_embeddings", kWhere)
                      : most;
  if (rope.kind != Kind::kDynamic) {
    rope.original =
        json::get_or<double>(words, "original_max_position_embeddings", rope.original, kWhere);
  }
  positive(rope.original, "original_max_position_embeddings");
  const double ratio = most / rope.original;
  const Value* factor = json::find(words, "factor", kWhere);
  if (factor != nullptr)
    rope.factor = positive(json::as<double>(*factor, "factor", kWhere), "factor");
  else if (rope.kind == Kind::kYarn || rope.kind == Kind::kLongRope)
    rope.factor = ratio;
  else
    rope.factor = json::require<double>(words, "factor", kWhere);
  const Value* attention = json::find(words, "attention_factor", kWhere);
  if (rope.kind == Kind::kYarn) {
    rope.beta_fast = positive(json::get_or<double>(words, "beta_fast", 32.0, kWhere), "beta_fast");
    rope.beta_slow = positive(json::get_or<double>(words, "beta_slow", 1.0, kWhere), "beta_slow");
    rope.truncate = json::get_or<bool>(words, "truncate", true, kWhere);
    rope.attention_factor = yarn_attention_factor(words, rope.factor);
  } else if (rope.kind == Kind::kLlama3) {
    rope.low_frequency =
        positive(json::require<double>(words, "low_freq_factor", kWhere), "low_freq_factor");
    rope.high_frequency =
        positive(json::require<double>(words, "high_freq_factor", kWhere), "high_freq_factor");
  } else if (rope.kind == Kind::kLongRope) {
    rope.short_factors = factors_of(words, "short_factor", rope.width);
    rope.long_factors = factors_of(words, "long_factor", rope.width);
    const double stretch = early != nullptr ? ratio : rope.factor;
    if (stretch > 1.0)
      rope.attention_factor = std::sqrt(1.0 + std::log(stretch) / std::log(rope.original));
  }
  if (attention != nullptr && (rope.kind == Kind::kYarn || rope.kind == Kind::kLongRope))
    rope.attention_factor =
        positive(json::as<double>(*attention, "attention_factor", kWhere), "attention_factor");
}

// Pair of numbers that turns `turns` times within the original positions.
double pair_with(const Rope& r, double turns) {
  return static_cast<double>(r.width) * std::log(r.original / (turns * 2.0 * std::numbers::pi)) /
         (2.0 * std::log(r.base));
}

void stretch_yarn(const Rope& r, std::vector<double>& f) {
  double low = pair_with(r, r.beta_fast);
  double high = pair_with(r, r.beta_slow);
  if (r.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(r.width - 1));
  if (low == high) high += 0.001;
  for (std::size_t m = 0; m < f.size(); ++m) {
    const double ramp = std::clamp((static_cast<double>(m) - low) / (high - low), 0.0, 1.0);
    f[m] = f[m] / r.factor * ramp + f[m] * (1.0 - ramp);
  }
}

void stretch_llama3(const Rope& r, std::vector<double>& f) {
  for (double& x : f) {
    const double wave = 2.0 * std::numbers::pi / x;
    if (wave > r.original / r.low_frequency) {
      x /= r.factor;
    } else if (wave >= r.original / r.high_frequency) {
      const double smooth =
          (r.original / wave - r.low_frequency) / (r.high_frequency - r.low_frequency);
      x = (1.0 - smooth) * x / r.factor + smooth * x;
    }
  }
}

}  // namespace

Rotary Rope::at(std::int64_t length) const {
  if (style == Rotary::Style::kNone) return {};
  double own_base = base;
  if (kind == Kind::kDynamic && width > 2) {
    const double tokens = std::max(static_cast<double>(length), original);
    const auto w = static_cast<double>(width);
    own_base *= std::pow(factor * tokens / original - (factor - 1.0), w / (w - 2.0));
  }
  Rotary rotary = Rotary::plain(style, width, own_base);
  rotary.factor = attention_factor;
  std::vector<double>& f = rotary.frequencies;
  if (kind == Kind::kLinear) {
    for (double& x : f) x /= factor;
  } else if (kind == Kind::kYarn) {
    stretch_yarn(*this, f);
  } else if (kind == Kind::kLlama3) {
    stretch_llama3(*this, f);
  } else if (kind == Kind::kLongRope) {
    const auto& factors = static_cast<double>(length) > original ? long_factors : short_factors;
    for (std::size_t m = 0; m < f.size(); ++m) f[m] /= factors[m];
  }
  return rotary;
}

Rope read_rope(const Value& config, std::int64_t head, const RopeDefaults& d) {
  const Words words = words_of(config, d);
  const Value none = Value::object();
  const Value& own = words.scaling != nullptr ? *words.scaling : none;
  Rope rope;
  rope.style = d.style;
  rope.base = json::get_or<double>(config, d.base_word, d.base, kWhere);
  if (words.fresh) rope.base = json::get_or<double>(own, "rope_theta", rope.base, kWhere);
  positive(rope.base, "rope_theta");
  double partial = json::get_or<double>(config, "partial_rotary_factor", d.partial, kWhere);
  if (words.fresh) partial = json::get_or<double>(own, "partial_rotary_factor", partial, kWhere);
  rope.width = static_cast<std::int64_t>(static_cast<double>(head) * std::clamp(partial, 0.0, 1.0));
  std::string type = json::get_or<std::string>(own, "type", "default", kWhere);
  type = json::get_or<std::string>(own, "rope_type", type, kWhere);
  rope.kind = kind_of(type);
  if (rope.kind != Rope::Kind::kDefault) read_scaling(config, own, rope);
  (void)rope.at(1);  // A width that cannot be is refused now.
  return rope;
}

double yarn_score_factor(const Value& config) {
  const Words words = words_of(config, {});
  if (words.scaling == nullptr) return 1.0;
  std::string type = json::get_or<std::string>(*words.scaling, "type", "default", kWhere);
  type = json::get_or<std::string>(*words.scaling, "rope_type", type, kWhere);
  const double all = json::get_or<double>(*words.scaling, "mscale_all_dim", 0.0, kWhere);
  if (type == "default" || all == 0.0) return 1.0;
  const double m = magnitude(json::get_or<double>(*words.scaling, "factor", 1.0, kWhere), all);
  return m * m;
}

}  // namespace headscope::models
