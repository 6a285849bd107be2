#include "models/vision_words.h"

#include <fmt/format.h>

#include <utility>

#include "models/biases.h"
#include "models/pruned.h"

namespace headscope::models {

namespace {

constexpr const char* kWhere = "config.json";
constexpr std::int64_t kMostSide = 1 << 14;

struct Family {
  const char* model_type;
  VisionBlueprint (*read)(const json::Value& config, const std::string& architecture);
};

constexpr Family kFamilies[] = {{"beit", beit},
                                {"clip_vision_model", clip_vision},
                                {"deit", deit},
                                {"dinov2", dinov2},
                                {"dinov2_with_registers", dinov2},
                                {"siglip_vision_model", siglip_vision},
                                {"swin", swin},
                                {"timesformer", timesformer},
                                {"videomae", videomae},
                                {"vit", vit}};

}  // namespace

std::array<std::int64_t, 2> sides_word(const json::Value& config,
                                       std::string_view key,
                                       std::int64_t fallback) {
  const json::Value* value = json::find(config, key, kWhere);
  std::array<std::int64_t, 2> sides{fallback, fallback};
  if (value != nullptr && value->is_array()) {
    const auto two = json::as<std::vector<std::int64_t>>(*value, key, kWhere);
    if (two.size() != 2) {
      throw Error(
          ErrorCode::kFormat,
          fmt::format(
              "[config.json] expected {} to be one or two sizes, found {}", key, two.size()));
    }
    sides = {two[0], two[1]};
  } else if (value != nullptr) {
    sides[0] = sides[1] = json::as<std::int64_t>(*value, key, kWhere);
  }
  for (const std::int64_t side : sides) {
    if (side < 1 || side > kMostSide) {
      throw Error(ErrorCode::kFormat,
                  fmt::format("[config.json] expected {} 1..{}, found {}", key, kMostSide, side));
    }
  }
  return sides;
}

PatchFacts patch_words(const json::Value& config, std::int64_t picture, std::int64_t patch) {
  const auto [height, width] = sides_word(config, "image_size", picture);
  const auto [tall, wide] = sides_word(config, "patch_size", patch);
  PatchFacts f;
  f.height = height;
  f.width = width;
  f.patch_height = tall;
  f.patch_width = wide;
  f.channels = size_word_or(config, "num_channels", 3);
  if (tall > height || wide > width || f.channels > 1024) {
    throw Error(
        ErrorCode::kFormat,
        fmt::format("[config.json] expected patches within {} x {} of at most 1024 channels, found "
                    "{} x {} of {}",
                    height,
                    width,
                    tall,
                    wide,
                    f.channels));
  }
  return f;
}

std::string class_ending(const std::string& architecture, const std::vector<std::string>& endings) {
  if (architecture.empty()) return "Model";
  std::string found;
  for (const std::string& ending : endings) {
    if (architecture.ends_with(ending) && ending.size() > found.size()) found = ending;
  }
  if (!found.empty()) return found;
  throw Error(ErrorCode::kUnsupported,
              fmt::format("[config.json] expected an architecture that ends in one of {}, found {}",
                          fmt::join(endings, ", "),
                          json::quote(architecture)));
}

void repeat(VisionBlueprint& b,
            std::int64_t layers,
            const std::string& prefix,
            const LayerFacts& layer,
            const BlockFacts& block) {
  const auto first = static_cast<std::int64_t>(b.body.layers.size());
  for (std::int64_t n = 0; n < layers; ++n) {
    b.body.layers.push_back(layer);
    b.body.layers.back().prefix = fmt::format(fmt::runtime(prefix), n);
    b.blocks.push_back(block);
    b.blocks.back().attention_name = fmt::format("attentions.{}", first + n);
  }
}

VisionBlueprint vit_like(const json::Value& config, const std::string& family, double eps) {
  VisionBlueprint v;
  Blueprint& b = v.body;
  b.family = family;
  b.prefixes = {family + "."};
  b.width = size_word_or(config, "hidden_size", 768);
  b.norm.eps = static_cast<float>(number_or(config, "layer_norm_eps", eps));
  v.patches = patch_words(config, 224, 16);
  v.patches.projection = "embeddings.patch_embeddings.projection";
  v.in_front = {{"embeddings.cls_token", "[CLS]"}};
  v.positions = "embeddings.position_embeddings";

  LayerFacts layer;
  AttentionFacts& a = layer.attention;
  a.heads = a.groups = size_word_or(config, "num_attention_heads", 12);
  a.width = a.value_width = head_width(b, a.heads);
  a.causal = false;
  a.query = "attention.attention.query";
  a.key = "attention.attention.key";
  a.value = "attention.attention.value";
  a.output = "attention.output.dense";
  layer.attention_norms.before = "layernorm_before";
  layer.mlp.activation = activation_of(word_or(config, "hidden_act", "gelu"));
  layer.mlp.width = size_word_or(config, "intermediate_size", 3072);
  layer.mlp.up = "intermediate.dense";
  layer.mlp.down = "output.dense";
  layer.mlp_norms.before = "layernorm_after";
  const std::int64_t layers =
      json::find(config, "num_hidden_layers", kWhere) != nullptr ? layers_word(config) : 12;
  repeat(v, layers, "encoder.layer.{}.", layer, BlockFacts());
  b.final_norm = "layernorm";
  b.last_hidden_final = false;
  return v;
}

void classify(VisionBlueprint& b, VisionTop::From from, const std::string& name) {
  b.top.classified = from;
  b.top.classifiers = {name};
}

std::optional<VisionBlueprint> read_vision(const json::Value& config,
                                           const std::string& architecture) {
  const auto type = json::require<std::string>(config, "model_type", kWhere);
  for (const Family& family : kFamilies) {
    if (type == family.model_type) {
      VisionBlueprint b = family.read(config, architecture);
      promise_biases(config, b.body);
      leave_out_heads(config, b.body);
      check(b.body);
      return b;
    }
  }
  return std::nullopt;
}

std::vector<std::string> vision_families() {
  std::vector<std::string> names;
  for (const Family& family : kFamilies) names.emplace_back(family.model_type);
  return names;
}

}  // namespace headscope::models
