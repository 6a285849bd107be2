// Swin: Liu 2021. Attention within windows, every second layer moves them; stages of fewer and wider patches.
#include <fmt/format.h>

#include "models/vision_words.h"

namespace headscope::models {

namespace {

constexpr const char* kWhere = "config.json";

std::vector<std::int64_t> sizes_or(const json::Value& config,
                                   std::string_view key,
                                   std::vector<std::int64_t> fallback) {
  auto sizes = json::get_or<std::vector<std::int64_t>>(config, key, std::move(fallback), kWhere);
  for (const std::int64_t n : sizes) {
    if (n < 1 || n > 4096) {
      throw Error(ErrorCode::kFormat,
                  fmt::format("[config.json] expected {} of 1..4096, found {}", key, n));
    }
  }
  return sizes;
}

LayerFacts layer_of(const json::Value& config, std::int64_t C, std::int64_t heads) {
  LayerFacts layer;
  AttentionFacts& a = layer.attention;
  Blueprint here;
  here.width = C;
  a.heads = a.groups = heads;
  a.width = a.value_width = head_width(here, heads);
  a.causal = false;
  a.query = "attention.self.query";
  a.key = "attention.self.key";
  a.value = "attention.self.value";
  a.output = "attention.output.dense";
  layer.attention_norms.before = "layernorm_before";
  layer.mlp.activation = activation_of(word_or(config, "hidden_act", "gelu"));
  layer.mlp.width = static_cast<std::int64_t>(number_or(config, "mlp_ratio", 4.0) * static_cast<double>(C));
  layer.mlp.up = "intermediate.dense";
  layer.mlp.down = "output.dense";
  layer.mlp_norms.before = "layernorm_after";
  return layer;
}

}  // namespace

VisionBlueprint swin(const json::Value& config, const std::string& architecture) {
  const std::string kind = class_ending(architecture, {"Model", "ForImageClassification"});
  if (flag_or(config, "use_absolute_embeddings", false)) {
    throw Error(ErrorCode::kUnsupported,
                "[config.json] expected a Swin without use_absolute_embeddings, found one with them");
  }
  VisionBlueprint b;
  b.body.family = "swin";
  b.body.prefixes = {"swin."};
  b.body.norm.eps = static_cast<float>(number_or(config, "layer_norm_eps", 1e-5));
  b.patches = patch_words(config, 224, 4);
  b.patches.projection = "embeddings.patch_embeddings.projection";
  b.patches.pads = true;
  b.body.embedding_norm = "embeddings.norm";
  const std::int64_t side = size_word_or(config, "window_size", 7);
  const auto depths = sizes_or(config, "depths", {2, 2, 6, 2});
  const auto heads = sizes_or(config, "num_heads", {3, 6, 12, 24});
  if (depths.size() != heads.size() || depths.empty() || depths.size() > 16 || side > 1024) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[config.json] expected 1 to 16 depths, as many num_heads and windows of at most "
                            "1024, found {}, {} and {}",
                            depths.size(),
                            heads.size(),
                            side));
  }
  std::int64_t C = size_word_or(config, "embed_dim", 96);
  for (std::size_t stage = 0; stage < depths.size(); ++stage) {
    const LayerFacts layer = layer_of(config, C, heads[stage]);
    for (std::int64_t n = 0; n < depths[stage]; ++n) {
      const bool last = n + 1 == depths[stage];
      BlockFacts block;
      block.meeting = Meeting::kWindows;
      block.side = side;
      block.shift = n % 2 == 0 ? 0 : side / 2;
      block.width = C;
      block.bias = "attention.self.relative_position_bias_table";
      block.shown = last;
      if (last && stage + 1 < depths.size()) block.merging = fmt::format("encoder.layers.{}.downsample", stage);
      b.body.layers.push_back(layer);
      b.body.layers.back().prefix = fmt::format("encoder.layers.{}.blocks.{}.", stage, n);
      block.name = fmt::format("stage {} block {}", stage, n);
      // Transformers show the last attention of every stage alone.
      block.attention_name = last ? fmt::format("attentions.{}", stage) : block.name;
      b.blocks.push_back(std::move(block));
    }
    if (stage + 1 < depths.size()) C *= 2;
  }
  b.body.width = C;
  b.body.final_norm = "layernorm";
  b.body.last_hidden_final = false;
  b.top.pooled = VisionTop::From::kPatches;
  if (kind == "ForImageClassification") classify(b, VisionTop::From::kPooled);
  return b;
}

}  // namespace headscope::models
