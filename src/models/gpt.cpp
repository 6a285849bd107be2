// GPT-2 (Radford 2019) and EleutherAI's and Salesforce's kin: GPT-Neo (Black 2021), GPT-J (Wang 2021),
// CodeGen (Nijkamp 2022), GPT-NeoX (Black 2022).
#include <cmath>

#include "models/families.h"

namespace headscope::models {

namespace {

// What the four that grew out of GPT-2 share, in its words.
Blueprint gpt_base(const json::Value& config,
                   const char* layers,
                   const char* heads,
                   const char* width,
                   const char* positions,
                   const char* inner) {
  Blueprint b;
  b.prefixes = {"transformer."};
  b.width = size_word(config, width);
  b.vocabulary = size_word(config, "vocab_size");
  b.positions = size_word_or(config, positions, 2048);
  b.norm.eps = static_cast<float>(number_or(config, "layer_norm_epsilon", 1e-5));
  b.word_embeddings = "wte";
  b.final_norm = "ln_f";
  b.causal_head = true;
  LayerFacts layer;
  AttentionFacts& a = layer.attention;
  a.heads = a.groups = size_word(config, heads);
  a.width = a.value_width = head_width(b, a.heads);
  layer.attention_norms.before = "ln_1";
  layer.mlp.activation = activation_of(word_or(config, "activation_function", "gelu_new"));
  layer.mlp.width = size_word_or(config, inner, 4 * b.width);
  repeat(b, layers_word(config, layers), "h.{}.", layer);
  return b;
}

void learned_positions(Blueprint& b) {
  b.position_embeddings = "wpe";
  b.position_rows = b.positions;
}

// One norm for attention and MLP, neighbours turn, an output map with a bias.
Blueprint gptj_like(const json::Value& config) {
  Blueprint b = gpt_base(config, "n_layer", "n_head", "n_embd", "n_positions", "n_inner");
  b.parallel = true;
  b.heads_on_top = {words_head(config, "ForCausalLM", "lm_head", false)};
  const std::int64_t turned = size_word_or(config, "rotary_dim", 64);
  for (LayerFacts& layer : b.layers) {
    layer.attention.rope.style = Rotary::Style::kGptj;
    layer.attention.rope.width = turned;
    layer.attention.output = "attn.out_proj";
    layer.mlp.up = "mlp.fc_in";
    layer.mlp.down = "mlp.fc_out";
  }
  return b;
}

}  // namespace

Blueprint gpt2(const json::Value& config) {
  Blueprint b = gpt_base(config, "n_layer", "n_head", "n_embd", "n_positions", "n_inner");
  b.family = "gpt2";
  b.matrices = Linear::Layout::kInOut;
  learned_positions(b);
  b.heads_on_top = {words_head(config, "LMHeadModel", "lm_head", true)};
  const bool scaled = flag_or(config, "scale_attn_weights", true);
  const bool by_layer = flag_or(config, "scale_attn_by_inverse_layer_idx", false);
  for (std::size_t n = 0; n < b.layers.size(); ++n) {
    LayerFacts& layer = b.layers[n];
    AttentionFacts& a = layer.attention;
    a.layout = QkvLayout::kConcatenated;
    a.fused = "attn.c_attn";
    a.output = "attn.c_proj";
    const double scale = scaled ? 1.0 / std::sqrt(static_cast<double>(a.width)) : 1.0;
    a.scale = static_cast<float>(by_layer ? scale / static_cast<double>(n + 1) : scale);
    layer.mlp_norms.before = "ln_2";
    layer.mlp.up = "mlp.c_fc";
    layer.mlp.down = "mlp.c_proj";
  }
  return b;
}

Blueprint gpt_neo(const json::Value& config) {
  Blueprint b = gpt_base(config,
                         "num_layers",
                         "num_heads",
                         "hidden_size",
                         "max_position_embeddings",
                         "intermediate_size");
  b.family = "gpt_neo";
  learned_positions(b);
  b.heads_on_top = {words_head(config, "ForCausalLM", "lm_head", true)};
  std::vector<std::string> kinds;
  if (json::find(config, "attention_layers", "config.json") != nullptr) {
    kinds = json::require<std::vector<std::string>>(config, "attention_layers", "config.json");
  } else {
    // [[["global", "local"], 12]]: these kinds, so many times.
    const auto runs = json::require<std::vector<std::vector<json::Value>>>(
        config, "attention_types", "config.json");
    for (const std::vector<json::Value>& run : runs) {
      const json::Value names = run.empty() ? json::Value() : run.front();
      const json::Value times = run.size() < 2 ? json::Value() : run[1];
      const auto some = json::as<std::vector<std::string>>(names, "attention_types", "config.json");
      const auto count = json::as<std::int64_t>(times, "attention_types", "config.json");
      for (std::int64_t n = 0; n < count && !some.empty() && kinds.size() < b.layers.size(); ++n)
        kinds.insert(kinds.end(), some.begin(), some.end());
    }
  }
  const std::int64_t window = size_word_or(config, "window_size", 256);
  for (std::size_t n = 0; n < b.layers.size(); ++n) {
    LayerFacts& layer = b.layers[n];
    AttentionFacts& a = layer.attention;
    if (n >= kinds.size() || (kinds[n] != "global" && kinds[n] != "local")) {
      throw Error(ErrorCode::kFormat,
                  "[config.json] expected an attention layer global or local for each layer");
    }
    if (kinds[n] == "local") a.window_left = window - 1;
    a.scale = 1.0F;
    a.query = "attn.attention.q_proj";
    a.key = "attn.attention.k_proj";
    a.value = "attn.attention.v_proj";
    a.output = "attn.attention.out_proj";
    layer.mlp_norms.before = "ln_2";
    layer.mlp.up = "mlp.c_fc";
    layer.mlp.down = "mlp.c_proj";
  }
  return b;
}

Blueprint gptj(const json::Value& config) {
  Blueprint b = gptj_like(config);
  b.family = "gptj";
  for (LayerFacts& layer : b.layers) {
    layer.attention.query = "attn.q_proj";
    layer.attention.key = "attn.k_proj";
    layer.attention.value = "attn.v_proj";
  }
  return b;
}

Blueprint codegen(const json::Value& config) {
  Blueprint b = gptj_like(config);
  b.family = "codegen";
  for (LayerFacts& layer : b.layers) {
    layer.attention.layout = QkvLayout::kFourShards;
    layer.attention.fused = "attn.qkv_proj";
  }
  return b;
}

Blueprint gpt_neox(const json::Value& config) {
  Blueprint b;
  b.family = "gpt_neox";
  b.prefixes = {"gpt_neox."};
  b.width = size_word(config, "hidden_size");
  b.vocabulary = size_word(config, "vocab_size");
  b.positions = size_word_or(config, "max_position_embeddings", 2048);
  b.norm.eps = static_cast<float>(number_or(config, "layer_norm_eps", 1e-5));
  b.parallel = flag_or(config, "use_parallel_residual", true);
  b.word_embeddings = "embed_in";
  b.final_norm = "final_layer_norm";
  b.heads_on_top = {words_head(config, "ForCausalLM", "embed_out", false)};
  b.causal_head = true;
  LayerFacts layer;
  AttentionFacts& a = layer.attention;
  a.heads = a.groups = size_word(config, "num_attention_heads");
  a.width = a.value_width = head_width(b, a.heads);
  a.rope =
      read_rope(config,
                a.width,
                {.partial = number_or(config, "rotary_pct", 0.25), .base_word = "rotary_emb_base"});
  a.layout = QkvLayout::kByHead;
  a.fused = "attention.query_key_value";
  a.output = "attention.dense";
  layer.attention_norms.before = "input_layernorm";
  layer.mlp_norms.before = "post_attention_layernorm";
  layer.mlp.activation = activation_of(word_or(config, "hidden_act", "gelu"));
  layer.mlp.width = size_word(config, "intermediate_size");
  layer.mlp.up = "mlp.dense_h_to_4h";
  layer.mlp.down = "mlp.dense_4h_to_h";
  repeat(b, layers_word(config), "layers.{}.", layer);
  return b;
}

}  // namespace headscope::models
