// BART (Lewis 2020), mBART (Liu 2020) and Marian (Junczys-Dowmunt 2018): two stacks in the same words.
#include <cmath>

#include "models/families.h"

namespace headscope::models {

namespace {

// One of BART's two stacks: "encoder" or "decoder".
Blueprint bart_stack(const json::Value& config, const std::string& family, const std::string& stack) {
  const bool decodes = stack == "decoder";
  Blueprint b;
  b.family = family;
  b.prefixes = {"model."};
  b.width = size_word(config, "d_model");
  b.vocabulary = size_word(config, "vocab_size");
  b.pad_token = json::get_or<std::int64_t>(config, "pad_token_id", 1, "config.json");
  b.positions = size_word_or(config, "max_position_embeddings", 1024);
  b.position_offset = 2;
  b.position_rows = b.positions + b.position_offset;
  if (flag_or(config, "scale_embedding", false))
    b.embedding_scale = std::sqrt(static_cast<float>(b.width));
  b.word_embeddings = stack + ".embed_tokens";
  b.position_embeddings = stack + ".embed_positions";
  b.embedding_norm = stack + ".layernorm_embedding";
  LayerFacts layer;
  AttentionFacts& a = layer.attention;
  a.heads = a.groups = size_word(config, stack + "_attention_heads");
  a.width = a.value_width = head_width(b, a.heads);
  a.causal = decodes;
  a.query = "self_attn.q_proj";
  a.key = "self_attn.k_proj";
  a.value = "self_attn.v_proj";
  a.output = "self_attn.out_proj";
  layer.attention_norms.over = "self_attn_layer_norm";
  if (decodes) {
    AttentionFacts cross = a;
    cross.causal = false;
    cross.query = "encoder_attn.q_proj";
    cross.key = "encoder_attn.k_proj";
    cross.value = "encoder_attn.v_proj";
    cross.output = "encoder_attn.out_proj";
    layer.cross = cross;
    layer.cross_norms.over = "encoder_attn_layer_norm";
  }
  layer.mlp.activation = activation_of(word_or(config, "activation_function", "gelu"));
  layer.mlp.width = size_word(config, stack + "_ffn_dim");
  layer.mlp.up = "fc1";
  layer.mlp.down = "fc2";
  layer.mlp_norms.over = "final_layer_norm";
  repeat(b, layers_word(config, stack + "_layers"), stack + ".layers.{}.", layer);
  return b;
}

HeadBlueprint written_words(const std::string& architecture) {
  return {.architecture = architecture,
          .out = "lm_head",
          .out_bias = "final_logits_bias",
          .tied = true};
}

// Norms stand before each part and behind the last layer.
void norms_first(Blueprint& b, const std::string& stack) {
  for (LayerFacts& layer : b.layers) {
    for (Norms* norms : {&layer.attention_norms, &layer.cross_norms, &layer.mlp_norms})
      std::swap(norms->before, norms->over);
  }
  b.final_norm = stack + ".layer_norm";
}

}  // namespace

PairBlueprint bart(const json::Value& config) {
  PairBlueprint p{bart_stack(config, "bart", "encoder"),
                  bart_stack(config, "bart", "decoder"),
                  {"shared", "encoder.embed_tokens", "decoder.embed_tokens"},
                  {},
                  json::get_or<std::int64_t>(config, "decoder_start_token_id", 2, "config.json")};
  p.decoder.heads_on_top = {written_words("ForConditionalGeneration")};
  p.decoder.causal_head = true;
  return p;
}

PairBlueprint mbart(const json::Value& config) {
  PairBlueprint p = bart(config);
  p.encoder.family = p.decoder.family = "mbart";
  norms_first(p.encoder, "encoder");
  norms_first(p.decoder, "decoder");
  return p;
}

PairBlueprint marian(const json::Value& config) {
  PairBlueprint p = bart(config);
  for (Blueprint* b : {&p.encoder, &p.decoder}) {
    b->family = "marian";
    b->embedding_norm.clear();
    b->position_offset = 0;
    b->position_rows = b->positions;
    b->sinusoids = true;
  }
  p.decoder.heads_on_top = {written_words("MarianMTModel")};
  if (!flag_or(config, "share_encoder_decoder_embeddings", true)) {
    p.shared_words.clear();
    p.decoder.vocabulary = size_word_or(config, "decoder_vocab_size", p.encoder.vocabulary);
  }
  p.start_token = json::get_or<std::int64_t>(config, "decoder_start_token_id", 58100, "config.json");
  return p;
}

}  // namespace headscope::models
