// Families without positions of their own: BLOOM (BigScience 2022), MPT (MosaicML 2023), and Falcon
// (Almazrouei 2023), which knows both ALiBi and rotary positions.
#include <cmath>

#include "models/families.h"

namespace headscope::models {

Blueprint bloom(const json::Value& config) {
  Blueprint b;
  b.family = "bloom";
  b.prefixes = {"transformer."};
  b.width = json::find(config, "hidden_size", "config.json") != nullptr
                ? size_word(config, "hidden_size")
                : size_word(config, "n_embed");
  b.vocabulary = size_word(config, "vocab_size");
  b.positions = size_word_or(config, "seq_length", 2048);
  b.norm.eps = static_cast<float>(number_or(config, "layer_norm_epsilon", 1e-5));
  b.residual_normed = flag_or(config, "apply_residual_connection_post_layernorm", false);
  b.word_embeddings = "word_embeddings";
  b.embedding_norm = "word_embeddings_layernorm";
  b.final_norm = "ln_f";
  b.heads_on_top = {words_head(config, "ForCausalLM", "lm_head", true)};
  b.causal_head = true;
  const bool old = json::find(config, "n_head", "config.json") == nullptr;
  LayerFacts layer;
  AttentionFacts& a = layer.attention;
  a.heads = a.groups = size_word(config, old ? "num_attention_heads" : "n_head");
  a.width = a.value_width = head_width(b, a.heads);
  a.slopes = alibi_slopes(a.heads);
  a.layout = QkvLayout::kByHead;
  a.fused = "self_attention.query_key_value";
  a.output = "self_attention.dense";
  layer.attention_norms.before = "input_layernorm";
  layer.mlp_norms.before = "post_attention_layernorm";
  layer.mlp.activation = kernels::Activation::kGeluTanh;
  layer.mlp.width = 4 * b.width;
  layer.mlp.up = "mlp.dense_h_to_4h";
  layer.mlp.down = "mlp.dense_4h_to_h";
  const bool words = json::find(config, "n_layer", "config.json") == nullptr;
  repeat(b, layers_word(config, words ? "num_hidden_layers" : "n_layer"), "h.{}.", layer);
  return b;
}

Blueprint mpt(const json::Value& config) {
  Blueprint b;
  b.family = "mpt";
  b.prefixes = {"transformer."};
  b.width = size_word(config, "d_model");
  b.vocabulary = size_word(config, "vocab_size");
  b.positions = size_word_or(config, "max_seq_len", 2048);
  b.norm.eps = static_cast<float>(number_or(config, "layer_norm_epsilon", 1e-5));
  b.word_embeddings = "wte";
  b.final_norm = "norm_f";
  b.heads_on_top = {words_head(config, "ForCausalLM", "lm_head", true)};
  b.causal_head = true;
  const json::Value* found = json::find(config, "attn_config", "config.json");
  const json::Value options = found != nullptr ? *found : json::Value::object();
  if (flag_or(options, "qk_ln", false) || flag_or(options, "prefix_lm", false) ||
      !flag_or(options, "alibi", true)) {
    throw Error(ErrorCode::kUnsupported,
                "[config.json] expected attn_config with alibi and without qk_ln and prefix_lm");
  }
  LayerFacts layer;
  AttentionFacts& a = layer.attention;
  a.heads = a.groups = size_word(config, "n_heads");
  a.width = a.value_width = head_width(b, a.heads);
  a.slopes = alibi_slopes_mpt(a.heads);
  a.clip = static_cast<float>(number_or(options, "clip_qkv", 0.0));
  if (json::find(options, "softmax_scale", "config.json") != nullptr)
    a.scale = static_cast<float>(number_or(options, "softmax_scale", 1.0));
  a.layout = QkvLayout::kConcatenated;
  a.fused = "attn.Wqkv";
  a.output = "attn.out_proj";
  layer.attention_norms.before = "norm_1";
  layer.mlp_norms.before = "norm_2";
  layer.mlp.activation = kernels::Activation::kGelu;
  layer.mlp.width = 4 * b.width;  // whatever expansion_ratio says
  layer.mlp.up = "ffn.up_proj";
  layer.mlp.down = "ffn.down_proj";
  repeat(b, layers_word(config, "n_layers"), "blocks.{}.", layer);
  return b;
}

Blueprint falcon(const json::Value& config) {
  Blueprint b;
  b.family = "falcon";
  b.prefixes = {"transformer."};
  b.width = size_word(config, "hidden_size");
  b.vocabulary = size_word(config, "vocab_size");
  b.positions = size_word_or(config, "max_position_embeddings", 2048);
  b.norm.eps = static_cast<float>(number_or(config, "layer_norm_epsilon", 1e-5));
  b.word_embeddings = "word_embeddings";
  b.final_norm = "ln_f";
  b.heads_on_top = {words_head(config, "ForCausalLM", "lm_head", true)};
  b.causal_head = true;
  const bool fresh = flag_or(config, "new_decoder_architecture", false);
  const bool two_norms =
      fresh && json::get_or<std::int64_t>(config, "num_ln_in_parallel_attn", 2, "config.json") == 2;
  b.parallel = fresh || flag_or(config, "parallel_attn", true);
  LayerFacts layer;
  AttentionFacts& a = layer.attention;
  a.heads = size_word(config, "num_attention_heads");
  a.width = a.value_width = head_width(b, a.heads);
  if (fresh) {
    a.groups = size_word_or(config, "num_kv_heads", a.heads);
    a.layout = QkvLayout::kByGroup;
  } else if (flag_or(config, "multi_query", true)) {
    a.groups = 1;
    a.layout = QkvLayout::kConcatenated;
  } else {
    a.groups = a.heads;
    a.layout = QkvLayout::kByHead;
  }
  if (flag_or(config, "alibi", false)) {
    a.slopes = alibi_slopes(a.heads);
    a.slopes_bf16 = true;
    // Transformers' eager attention, which references are made with, adds the bias twice: to the scores before
    // they are scaled, and scaled as part of the mask.
    a.slopes_scale = static_cast<float>(2.0 / std::sqrt(static_cast<double>(a.width)));
  } else {
    a.rope = read_rope(config, a.width);
  }
  a.fused = "self_attention.query_key_value";
  a.output = "self_attention.dense";
  layer.attention_norms.before = two_norms ? "ln_attn" : "input_layernorm";
  if (two_norms) layer.mlp_norms.before = "ln_mlp";
  if (!b.parallel) layer.mlp_norms.before = "post_attention_layernorm";
  layer.mlp.activation = activation_of(word_or(config, "activation", "gelu"));
  layer.mlp.width = size_word_or(config, "ffn_hidden_size", 4 * b.width);
  layer.mlp.up = "mlp.dense_h_to_4h";
  layer.mlp.down = "mlp.dense_4h_to_h";
  repeat(b, layers_word(config), "h.{}.", layer);
  return b;
}

}  // namespace headscope::models
