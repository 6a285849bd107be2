// CLIP: Radford 2021. SigLIP: Zhai 2023. Both towers and how they meet.
#include <fmt/format.h>

#include "models/towers.h"
#include "models/vision_words.h"

namespace headscope::models {

namespace {

constexpr const char* kWhere = "config.json";

// CLIPEncoder and SiglipEncoder alike: both towers of both families.
LayerFacts layer_of(const json::Value& config,
                    Blueprint& b,
                    std::int64_t width,
                    std::int64_t mlp_width,
                    std::int64_t heads,
                    const std::string& activation,
                    double eps) {
  b.width = size_word_or(config, "hidden_size", width);
  b.norm.eps = static_cast<float>(number_or(config, "layer_norm_eps", eps));
  LayerFacts layer;
  AttentionFacts& a = layer.attention;
  a.heads = a.groups = size_word_or(config, "num_attention_heads", heads);
  a.width = a.value_width = head_width(b, a.heads);
  a.causal = false;
  a.query = "self_attn.q_proj";
  a.key = "self_attn.k_proj";
  a.value = "self_attn.v_proj";
  a.output = "self_attn.out_proj";
  layer.attention_norms.before = "layer_norm1";
  layer.mlp.activation = activation_of(word_or(config, "hidden_act", activation));
  layer.mlp.width = size_word_or(config, "intermediate_size", mlp_width);
  layer.mlp.up = "mlp.fc1";
  layer.mlp.down = "mlp.fc2";
  layer.mlp_norms.before = "layer_norm2";
  return layer;
}

std::int64_t layers_of(const json::Value& config) {
  return json::find(config, "num_hidden_layers", kWhere) == nullptr ? 12 : layers_word(config);
}

TextBlueprint text_of(const json::Value& config, const std::string& family, bool clip) {
  TextBlueprint t;
  Blueprint& b = t.body;
  b.family = family;
  b.prefixes = {"text_model."};
  LayerFacts layer = clip ? layer_of(config, b, 512, 2048, 8, "quick_gelu", 1e-5)
                          : layer_of(config, b, 768, 3072, 12, "gelu_pytorch_tanh", 1e-6);
  layer.attention.causal = clip;
  b.vocabulary = size_word_or(config, "vocab_size", clip ? 49408 : 32000);
  b.positions = b.position_rows = size_word_or(config, "max_position_embeddings", clip ? 77 : 64);
  b.word_embeddings = "embeddings.token_embedding";
  b.position_embeddings = "embeddings.position_embedding";
  repeat(b, layers_of(config), "encoder.layers.{}.", layer);
  b.final_norm = "final_layer_norm";
  b.last_hidden_final = false;
  if (clip) {
    t.eos = json::get_or<std::int64_t>(config, "eos_token_id", 49407, kWhere);
    // Files from before this rule all say 2, whatever the token is.
    t.pool = t.eos == 2 ? TextBlueprint::Pool::kLargestId : TextBlueprint::Pool::kFirstEos;
    t.projection = "text_projection";
    t.projection_width = size_word_or(config, "projection_dim", 512);
  } else {
    t.pool = TextBlueprint::Pool::kLast;
    b.pad_token = json::get_or<std::int64_t>(config, "pad_token_id", 1, kWhere);
    if (b.pad_token < 0 || b.pad_token >= b.vocabulary) b.pad_token = 0;
    t.head = "head";
    t.head_width = size_word_or(config, "projection_size", b.width);
  }
  return t;
}

VisionBlueprint vision_of(const json::Value& config, const std::string& family, bool clip) {
  VisionBlueprint v;
  Blueprint& b = v.body;
  b.family = family;
  b.prefixes = {"vision_model."};
  const LayerFacts layer = layer_of(
      config, b, 768, 3072, 12, clip ? "quick_gelu" : "gelu_pytorch_tanh", clip ? 1e-5 : 1e-6);
  v.patches = patch_words(config, 224, clip ? 32 : 16);
  v.patches.projection = "embeddings.patch_embedding";
  v.positions = "embeddings.position_embedding.weight";
  repeat(v, layers_of(config), "encoder.layers.{}.", layer, BlockFacts());
  b.last_hidden_final = false;
  if (clip) {
    v.in_front = {{"embeddings.class_embedding", "[CLS]"}};
    b.embedding_norm = "pre_layrnorm";  // published so
    v.embedding_eps = b.norm.eps;
    v.top.pooled = VisionTop::From::kFirst;
    v.top.pooled_norm = "post_layernorm";
    v.top.pooled_eps = b.norm.eps;
    v.top.projection = "visual_projection";
    v.top.projection_width = size_word_or(config, "projection_dim", 512);
  } else {
    b.final_norm = "post_layernorm";
    if (flag_or(config, "vision_use_head", true)) {
      v.top.pooled = VisionTop::From::kProbe;
      v.top.probe = "head.";
      v.top.probe_heads = layer.attention.heads;
      v.top.probe_mlp_width = layer.mlp.width;
      v.top.pooled_activation = layer.mlp.activation;
    }
  }
  return v;
}

// The words of a tower: `text_config`, over which old files lay `text_config_dict`.
json::Value tower_words(const json::Value& config, const std::string& key) {
  json::Value words = json::Value::object();
  for (const std::string& name : {key, key + "_dict"}) {
    const json::Value* here = json::find(config, name, kWhere);
    if (here == nullptr) continue;
    if (!here->is_object())
      throw Error(ErrorCode::kFormat,
                  fmt::format("[config.json] expected {} to be an object", name));
    for (const auto& [word, value] : here->items()) words[word] = value;
  }
  return words;
}

}  // namespace

bool pools_itself(std::string_view family) {
  return family.starts_with("clip") || family.starts_with("siglip");
}

std::vector<std::string> tower_families() {
  return {"clip", "clip_text_model", "siglip", "siglip_text_model"};
}

VisionBlueprint clip_vision(const json::Value& config, const std::string& architecture) {
  class_ending(architecture, {"Model", "ModelWithProjection"});
  return vision_of(config, "clip_vision_model", true);
}

VisionBlueprint siglip_vision(const json::Value& config, const std::string& architecture) {
  class_ending(architecture, {"Model"});
  return vision_of(config, "siglip_vision_model", false);
}

std::optional<TextBlueprint> read_text_tower(const json::Value& config,
                                             const std::string& architecture) {
  const auto type = json::require<std::string>(config, "model_type", kWhere);
  if (type != "clip_text_model" && type != "siglip_text_model") return std::nullopt;
  class_ending(architecture, {"Model", "ModelWithProjection"});
  TextBlueprint text = text_of(config, type, type == "clip_text_model");
  check(text.body);
  return text;
}

std::optional<TowersBlueprint> read_towers(const json::Value& config,
                                           const std::string& architecture) {
  const auto type = json::require<std::string>(config, "model_type", kWhere);
  if (type != "clip" && type != "siglip") return std::nullopt;
  class_ending(architecture, {"Model"});
  const bool clip = type == "clip";
  TowersBlueprint b;
  b.text = text_of(tower_words(config, "text_config"), type, clip);
  b.vision = vision_of(tower_words(config, "vision_config"), type, clip);
  if (clip) {
    b.text.projection_width = b.vision.top.projection_width =
        size_word_or(config, "projection_dim", 512);
    b.projected_poolers = true;
  } else {
    b.biased = true;
    const std::int64_t C = b.vision.body.width;
    if (b.vision.top.pooled == VisionTop::From::kNone || b.text.head_width != C) {
      throw Error(
          ErrorCode::kFormat,
          fmt::format("[config.json] expected a vision head and projection_size {}, found {}",
                      C,
                      b.text.head_width));
    }
  }
  check(b.text.body);
  check(b.vision.body);
  return b;
}

}  // namespace headscope::models
