#include "models/blueprint.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/edit_distance.h"
#include "headscope/model.h"

namespace headscope {

namespace models {

namespace {

struct Family {
  const char* model_type;
  ReadBlueprint read;
};

constexpr Family kFamilies[] = {{"bert", bert}, {"distilbert", distilbert}, {"roberta", roberta}};

}  // namespace

Blueprint read_blueprint(const json::Value& config) {
  const auto type = json::require<std::string>(config, "model_type", "config.json");
  const Family* nearest = nullptr;
  std::size_t least = std::string::npos;
  for (const Family& family : kFamilies) {
    if (type == family.model_type) {
      Blueprint b = family.read(config);
      check(b);
      return b;
    }
    const std::size_t d = edit_distance(std::string_view(type).substr(0, 64), family.model_type);
    if (d < least) {
      least = d;
      nearest = &family;
    }
  }
  throw Error(
      ErrorCode::kUnsupported,
      fmt::format(
          "[config.json] expected model_type to be one of {}, found {}; the nearest is \"{}\"",
          fmt::join(families(), ", "),
          json::quote(type),
          nearest->model_type));
}

kernels::Activation activation_of(const std::string& name) {
  using kernels::Activation;
  static const std::pair<const char*, Activation> kNames[] = {
      {"gelu", Activation::kGelu},
      {"gelu_python", Activation::kGelu},
      {"gelu_new", Activation::kGeluTanh},
      {"gelu_fast", Activation::kGeluTanh},
      {"gelu_pytorch_tanh", Activation::kGeluTanh},
      {"relu", Activation::kRelu},
      {"silu", Activation::kSilu},
      {"swish", Activation::kSilu},
      {"tanh", Activation::kTanh}};
  std::string known;
  for (const auto& [known_name, activation] : kNames) {
    if (name == known_name) return activation;
    known += (known.empty() ? "" : ", ") + std::string(known_name);
  }
  throw Error(
      ErrorCode::kUnsupported,
      fmt::format(
          "[config.json] expected an activation among {}, found {}", known, json::quote(name)));
}

void check(const Blueprint& b) {
  const auto positive = [](std::int64_t x, std::string_view what) {
    constexpr std::int64_t kMost = std::int64_t{1} << 31;
    if (x < 1 || x > kMost) {
      throw Error(ErrorCode::kFormat,
                  fmt::format("[config.json] expected {} to be 1..2^31, found {}", what, x));
    }
  };
  positive(b.layers, "the number of layers");
  positive(b.heads, "the number of heads");
  positive(b.width, "the model width");
  positive(b.mlp_width, "the MLP width");
  positive(b.vocabulary, "the vocabulary");
  positive(b.position_rows, "the number of positions");
  if (b.positions_skip_padding && (b.pad_token < 0 || b.pad_token >= b.position_rows - 1)) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[config.json] expected pad_token_id 0..{}, found {}",
                            b.position_rows - 2,
                            b.pad_token));
  }
  if (b.types < 0) throw Error(ErrorCode::kFormat, "[config.json] expected no negative sizes");
  if (b.width % b.heads != 0) {
    throw Error(
        ErrorCode::kFormat,
        fmt::format("[config.json] expected {} heads to divide the width {}", b.heads, b.width));
  }
}

}  // namespace models

std::vector<std::string> families() {
  std::vector<std::string> names;
  for (const auto& family : models::kFamilies) names.emplace_back(family.model_type);
  return names;
}

}  // namespace headscope
