// BERT: Devlin 2018. Post-norm encoder with learned positions and token types. Of its shape, in other
// words or with other ends: RoBERTa (Liu 2019), ELECTRA (Clark 2020), MPNet (Song 2020).
#include "models/families.h"

namespace headscope::models {

Blueprint bert(const json::Value& config) {
  const std::string kind = word_or(config, "position_embedding_type", "absolute");
  if (kind != "absolute") {
    throw Error(ErrorCode::kUnsupported,
                "[config.json] expected position_embedding_type absolute, found " + kind);
  }
  if (flag_or(config, "add_cross_attention", false)) {
    throw Error(ErrorCode::kUnsupported,
                "[config.json] expected an encoder alone, found add_cross_attention");
  }
  Blueprint b;
  b.family = "bert";
  b.prefixes = {"bert."};
  b.width = size_word(config, "hidden_size");
  b.vocabulary = size_word(config, "vocab_size");
  b.positions = b.position_rows = size_word_or(config, "max_position_embeddings", 512);
  b.types = json::get_or<std::int64_t>(config, "type_vocab_size", 2, "config.json");
  b.norm.eps = static_cast<float>(number_or(config, "layer_norm_eps", 1e-12));
  b.pad_token = json::get_or<std::int64_t>(config, "pad_token_id", 0, "config.json");
  b.word_embeddings = "embeddings.word_embeddings";
  b.position_embeddings = "embeddings.position_embeddings";
  b.type_embeddings = "embeddings.token_type_embeddings";
  b.embedding_norm = "embeddings.LayerNorm";
  LayerFacts layer;
  AttentionFacts& a = layer.attention;
  a.heads = a.groups = size_word(config, "num_attention_heads");
  a.width = a.value_width = head_width(b, a.heads);
  a.causal = flag_or(config, "is_decoder", false);
  a.query = "attention.self.query";
  a.key = "attention.self.key";
  a.value = "attention.self.value";
  a.output = "attention.output.dense";
  layer.attention_norms.over = "attention.output.LayerNorm";
  layer.mlp.activation = activation_of(word_or(config, "hidden_act", "gelu"));
  layer.mlp.width = size_word(config, "intermediate_size");
  layer.mlp.up = "intermediate.dense";
  layer.mlp.down = "output.dense";
  layer.mlp_norms.over = "output.LayerNorm";
  repeat(b, layers_word(config), "encoder.layer.{}.", layer);
  b.pooler = "pooler.dense";
  const HeadBlueprint words{.architecture = "ForMaskedLM",
                            .dense = "cls.predictions.transform.dense",
                            .activation = layer.mlp.activation,
                            .norm = "cls.predictions.transform.LayerNorm",
                            .out = "cls.predictions.decoder",
                            .out_bias = "cls.predictions.bias",
                            .tied = true};
  HeadBlueprint decoder = words;
  decoder.architecture = "LMHeadModel";
  HeadBlueprint pretraining = words;
  pretraining.architecture = "ForPreTraining";
  using From = HeadBlueprint::From;
  b.heads_on_top = {
      words,
      decoder,
      pretraining,
      {.architecture = "ForSequenceClassification", .from = From::kPooler, .out = "classifier"},
      {.architecture = "ForNextSentencePrediction",
       .from = From::kPooler,
       .out = "cls.seq_relationship"},
      {.architecture = "ForTokenClassification", .out = "classifier"},
      {.architecture = "ForQuestionAnswering", .out = "qa_outputs"}};
  return b;
}

namespace {

void skip_padding(const json::Value& config, Blueprint& b) {
  b.position_rule = PositionRule::kSkipPadding;
  b.pad_token = json::get_or<std::int64_t>(config, "pad_token_id", 1, "config.json");
  if (b.pad_token < 0 || b.pad_token >= b.position_rows - 1) {
    throw Error(ErrorCode::kFormat,
                "[config.json] expected pad_token_id 0.." + std::to_string(b.position_rows - 2) +
                    ", found " + std::to_string(b.pad_token));
  }
  b.positions = b.position_rows - b.pad_token - 1;
}

// Words over a dense layer with a norm, all below `lm_head`, and a class over two layers.
void roberta_heads(Blueprint& b) {
  using From = HeadBlueprint::From;
  HeadBlueprint words{.architecture = "ForMaskedLM",
                      .dense = "lm_head.dense",
                      .activation = kernels::Activation::kGelu,
                      .norm = "lm_head.layer_norm",
                      .out = "lm_head.decoder",
                      .out_bias = "lm_head.bias",
                      .tied = true};
  HeadBlueprint decoder = words;
  decoder.architecture = "ForCausalLM";
  b.heads_on_top = {words,
                    decoder,
                    {.architecture = "ForSequenceClassification",
                     .from = From::kFirstToken,
                     .dense = "classifier.dense",
                     .activation = kernels::Activation::kTanh,
                     .out = "classifier.out_proj"},
                    {.architecture = "ForTokenClassification", .out = "classifier"},
                    {.architecture = "ForQuestionAnswering", .out = "qa_outputs"}};
}

}  // namespace

Blueprint roberta(const json::Value& config) {
  Blueprint b = bert(config);
  b.family = "roberta";
  b.prefixes = {"roberta."};
  skip_padding(config, b);
  roberta_heads(b);
  return b;
}

Blueprint mpnet(const json::Value& config) {
  Blueprint b = bert(config);
  b.family = "mpnet";
  b.prefixes = {"mpnet."};
  b.types = 0;
  skip_padding(config, b);
  roberta_heads(b);
  for (LayerFacts& layer : b.layers) {
    layer.attention.query = "attention.attn.q";
    layer.attention.key = "attention.attn.k";
    layer.attention.value = "attention.attn.v";
    layer.attention.output = "attention.attn.o";
    layer.attention_norms.over = "attention.LayerNorm";
    layer.attention.relative.table = "encoder.relative_attention_bias";
    layer.attention.relative.buckets = size_word_or(config, "relative_attention_num_buckets", 32);
  }
  return b;
}

Blueprint electra(const json::Value& config) {
  Blueprint b = bert(config);
  b.family = "electra";
  b.prefixes = {"electra."};
  if (const std::int64_t E = size_word_or(config, "embedding_size", 128); E != b.width) {
    b.embedding_width = E;
    b.embedding_projection = "embeddings_project";
  }
  b.pooler = "";
  using From = HeadBlueprint::From;
  b.heads_on_top = {{.architecture = "ForMaskedLM",
                     .dense = "generator_predictions.dense",
                     .dense_width = b.embedding_width,
                     .activation = kernels::Activation::kGelu,
                     .norm = "generator_predictions.LayerNorm",
                     .out = "generator_lm_head",
                     .tied = true},
                    {.architecture = "ForSequenceClassification",
                     .from = From::kFirstToken,
                     .dense = "classifier.dense",
                     .activation = kernels::Activation::kGelu,
                     .out = "classifier.out_proj"},
                    {.architecture = "ForPreTraining",
                     .dense = "discriminator_predictions.dense",
                     .activation = b.layers.front().mlp.activation,
                     .out = "discriminator_predictions.dense_prediction"},
                    {.architecture = "ForTokenClassification", .out = "classifier"},
                    {.architecture = "ForQuestionAnswering", .out = "qa_outputs"}};
  return b;
}

}  // namespace headscope::models
