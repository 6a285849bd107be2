// VideoMAE: Tong 2022, patches of several frames. TimeSformer: Bertasius 2021, attention over time, then space.
#include <fmt/format.h>

#include "models/vision_words.h"

namespace headscope::models {

using From = VisionTop::From;

VisionBlueprint videomae(const json::Value& config, const std::string& architecture) {
  VisionBlueprint b = vit_like(config, "videomae", 1e-12);
  const std::string kind = class_ending(architecture, {"Model", "ForVideoClassification"});
  b.in_front.clear();
  b.positions.clear();
  b.computed = true;
  b.patches.frames = size_word_or(config, "num_frames", 16);
  b.patches.tubelet = size_word_or(config, "tubelet_size", 2);
  if (b.patches.frames < b.patches.tubelet || b.patches.frames > 4096) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[config.json] expected {}..4096 num_frames, found {}",
                            b.patches.tubelet,
                            b.patches.frames));
  }
  b.renamed = {{".q_bias", ".query.bias"}, {".v_bias", ".value.bias"}};
  const bool mean = flag_or(config, "use_mean_pooling", true);
  if (mean) b.body.final_norm.clear();
  if (kind == "ForVideoClassification") {
    classify(b, mean ? From::kPatches : From::kFirst);
    if (mean) b.top.classifier_norm = "fc_norm";
  }
  return b;
}

VisionBlueprint timesformer(const json::Value& config, const std::string& architecture) {
  VisionBlueprint b = vit_like(config, "timesformer", 1e-6);
  const std::string kind = class_ending(architecture, {"Model", "ForVideoClassification"});
  b.patches.frames = size_word_or(config, "num_frames", 8);
  if (b.patches.frames > 4096) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[config.json] expected 1..4096 num_frames, found {}", b.patches.frames));
  }
  b.square_table = true;
  b.fit = Fit::kNearest;
  const std::string type = word_or(config, "attention_type", "divided_space_time");
  const bool divided = type == "divided_space_time";
  if (!divided && type != "space_only" && type != "joint_space_time") {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[config.json] expected attention_type divided_space_time, space_only or "
                            "joint_space_time, found {}",
                            json::quote(type)));
  }
  b.frames_apart = type == "space_only";
  if (!b.frames_apart) b.time_positions = "embeddings.time_embeddings";
  for (std::size_t n = 0; n < b.blocks.size(); ++n) {
    LayerFacts& layer = b.body.layers[n];
    layer.attention.layout = QkvLayout::kConcatenated;
    layer.attention.fused = "attention.attention.qkv";
    if (!divided) continue;
    layer.cross = layer.attention;
    layer.cross_norms = layer.attention_norms;
    layer.attention.fused = "temporal_attention.attention.qkv";
    layer.attention.output = "temporal_attention.output.dense";
    layer.attention_norms.before = "temporal_layernorm";
    BlockFacts& block = b.blocks[n];
    block.meeting = Meeting::kTime;
    block.second = Meeting::kSpace;
    block.dense = "temporal_dense";
    block.attention_name = fmt::format("time_attentions.{}", n);
    block.second_attention_name = fmt::format("attentions.{}", n);
    block.name = fmt::format("time {}", n);
    block.second_name = fmt::format("space {}", n);
  }
  if (kind == "ForVideoClassification") classify(b, From::kFirst);
  return b;
}

}  // namespace headscope::models
