// OPT: Zhang 2022. Positions with an offset of 2; the 350M model is post-norm and narrower at its ends.
#include "models/families.h"

namespace headscope::models {

Blueprint opt(const json::Value& config) {
  Blueprint b;
  b.family = "opt";
  b.prefixes = {"model.decoder.", "decoder."};
  b.width = size_word(config, "hidden_size");
  b.vocabulary = size_word(config, "vocab_size");
  b.positions = size_word_or(config, "max_position_embeddings", 2048);
  b.position_offset = 2;
  b.position_rows = b.positions + b.position_offset;
  b.position_rule = PositionRule::kCountMask;
  b.positions_after_projection = true;
  b.position_embeddings = "embed_positions";
  b.word_embeddings = "embed_tokens";
  if (const std::int64_t E = size_word_or(config, "word_embed_proj_dim", b.width); E != b.width) {
    b.embedding_width = E;
    b.embedding_projection = "project_in";
    b.final_projection = "project_out";
  }
  b.norm.bare = !flag_or(config, "layer_norm_elementwise_affine", true);
  const bool before = flag_or(config, "do_layer_norm_before", true);
  if (before && !flag_or(config, "_remove_final_layer_norm", false))
    b.final_norm = "final_layer_norm";
  b.heads_on_top = {words_head(config, "ForCausalLM", "lm_head", true)};
  b.causal_head = true;
  LayerFacts layer;
  AttentionFacts& a = layer.attention;
  a.heads = a.groups = size_word(config, "num_attention_heads");
  a.width = a.value_width = head_width(b, a.heads);
  a.query = "self_attn.q_proj";
  a.key = "self_attn.k_proj";
  a.value = "self_attn.v_proj";
  a.output = "self_attn.out_proj";
  (before ? layer.attention_norms.before : layer.attention_norms.over) = "self_attn_layer_norm";
  (before ? layer.mlp_norms.before : layer.mlp_norms.over) = "final_layer_norm";
  layer.mlp.activation = activation_of(word_or(config, "activation_function", "relu"));
  layer.mlp.width = size_word(config, "ffn_dim");
  layer.mlp.up = "fc1";
  layer.mlp.down = "fc2";
  repeat(b, layers_word(config), "layers.{}.", layer);
  return b;
}

}  // namespace headscope::models
