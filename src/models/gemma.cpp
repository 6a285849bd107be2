// Gemma 1 to 3: Gemma Team 2024, 2024, 2025. Of a Gemma 3 that also reads pictures (4B and larger) the part that
// reads text: its tower and projector of pictures are left where they lie.
#include <cmath>

#include "models/families.h"
#include "models/gguf_config.h"

namespace headscope::models {

namespace {

Blueprint gemma_like(const json::Value& config, const RopeDefaults& rope) {
  Blueprint b = llama_like(config, rope);
  b.norm.plus_one = true;
  b.embedding_scale = static_cast<float>(std::sqrt(static_cast<double>(b.width)));
  // Old files say hidden_act "gelu" and mean the tanh approximation.
  const std::string act = word_or(config, "hidden_activation", "gelu_pytorch_tanh");
  for (LayerFacts& layer : b.layers) layer.mlp.activation = activation_of(act);
  b.heads_on_top = {words_head(config, "ForCausalLM", "lm_head", true)};
  return b;
}

void four_norms(Blueprint& b) {
  for (LayerFacts& layer : b.layers) {
    layer.attention_norms.after = "post_attention_layernorm";
    layer.mlp_norms.before = "pre_feedforward_layernorm";
    layer.mlp_norms.after = "post_feedforward_layernorm";
  }
}

void scores(const json::Value& config, Blueprint& b) {
  b.logit_softcap = static_cast<float>(number_or(config, "final_logit_softcapping", 0.0));
  for (LayerFacts& layer : b.layers) {
    layer.attention.softcap = static_cast<float>(number_or(config, "attn_logit_softcapping", 0.0));
    layer.attention.scale =
        static_cast<float>(1.0 / std::sqrt(number_or(config, "query_pre_attn_scalar", 256.0)));
  }
}

}  // namespace

Blueprint gemma(const json::Value& config) {
  Blueprint b = gemma_like(config, {});
  b.family = "gemma";
  return b;
}

Blueprint gemma2(const json::Value& config) {
  Blueprint b = gemma_like(config, {});
  b.family = "gemma2";
  four_norms(b);
  scores(config, b);
  std::vector<bool> sliding(b.layers.size());
  for (std::size_t n = 0; n < sliding.size(); ++n) sliding[n] = n % 2 == 0;
  set_windows(b, layer_types_or(config, sliding), window_word(config, 4096));
  return b;
}

json::Value gemma3_words(const json::Value& whole) {
  json::Value words = {{"model_type", "gemma3_text"},
                       {"vocab_size", 262208},
                       {"hidden_size", 2304},
                       {"intermediate_size", 9216},
                       {"num_hidden_layers", 26},
                       {"num_attention_heads", 8},
                       {"num_key_value_heads", 4},
                       {"head_dim", 256},
                       {"max_position_embeddings", 131072}};
  const json::Value* text = json::find(whole, "text_config", "config.json");
  if (text == nullptr) return words;
  (void)json::find(*text, "model_type", "config.json");  // refuses what is no object
  words.update(*text);
  constexpr const char* kTied = "tie_word_embeddings";
  if (!words.contains(kTied) && whole.contains(kTied)) words[kTied] = whole[kTied];
  return words;
}

Blueprint gemma3_text(const json::Value& whole) {
  const bool alone = word_or(whole, "model_type", "gemma3_text") == "gemma3_text";
  const json::Value config = alone ? whole : gemma3_words(whole);
  Blueprint b = gemma_like(config, {.base = 1e6, .layer_type = "full_attention"});
  b.family = "gemma3_text";
  if (!alone) {
    b.family = "gemma3";
    b.prefixes = {"model.language_model.", "language_model.model.", "language_model.", "model."};
    b.heads_on_top.push_back(words_head(config, "ForConditionalGeneration", "lm_head", true));
  }
  four_norms(b);
  scores(config, b);
  const Rope local = read_rope(
      config,
      b.layers.front().attention.width,
      {.layer_type = "sliding_attention", .base_word = "rope_local_base_freq", .scaled = false});
  const auto pattern = static_cast<std::size_t>(size_word_or(config, "sliding_window_pattern", 6));
  std::vector<bool> sliding(b.layers.size());
  for (std::size_t n = 0; n < sliding.size(); ++n) sliding[n] = (n + 1) % pattern != 0;
  sliding = layer_types_or(config, sliding);
  const bool both_ways = flag_or(config, "use_bidirectional_attention", false);
  const std::int64_t window = window_word(config, 4096);
  set_windows(b, sliding, both_ways ? window / 2 + 1 : window);
  for (std::size_t n = 0; n < b.layers.size(); ++n) {
    AttentionFacts& a = b.layers[n].attention;
    a.qk_norm = HeadNorm::Kind::kRms;
    a.qk_norm_plus_one = true;
    a.query_norm = "self_attn.q_norm";
    a.key_norm = "self_attn.k_norm";
    if (sliding[n]) a.rope = local;
    if (!both_ways) continue;
    a.causal = false;
    a.window_right = a.window_left;
  }
  return b;
}

}  // namespace headscope::models
