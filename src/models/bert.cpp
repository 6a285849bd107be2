// BERT: Devlin 2018. Post-norm encoder with learned positions and token types.
#include "models/blueprint.h"

namespace headscope::models {

Blueprint bert(const json::Value& config) {
  const std::string where = "config.json";
  const auto kind = json::get_or<std::string>(config, "position_embedding_type", "absolute", where);
  if (kind != "absolute") {
    throw Error(ErrorCode::kUnsupported,
                "[config.json] expected position_embedding_type absolute, found " + kind);
  }
  if (json::get_or<bool>(config, "add_cross_attention", false, where)) {
    throw Error(ErrorCode::kUnsupported,
                "[config.json] expected an encoder alone, found add_cross_attention");
  }
  Blueprint b;
  b.family = "bert";
  b.prefixes = {"bert."};
  b.layers = json::require<std::int64_t>(config, "num_hidden_layers", where);
  b.heads = json::require<std::int64_t>(config, "num_attention_heads", where);
  b.width = json::require<std::int64_t>(config, "hidden_size", where);
  b.mlp_width = json::require<std::int64_t>(config, "intermediate_size", where);
  b.vocabulary = json::require<std::int64_t>(config, "vocab_size", where);
  b.position_rows = json::get_or<std::int64_t>(config, "max_position_embeddings", 512, where);
  b.types = json::get_or<std::int64_t>(config, "type_vocab_size", 2, where);
  b.norm_eps = json::get_or<float>(config, "layer_norm_eps", 1e-12F, where);
  b.pad_token = json::get_or<std::int64_t>(config, "pad_token_id", 0, where);
  b.activation = activation_of(json::get_or<std::string>(config, "hidden_act", "gelu", where));
  b.causal = json::get_or<bool>(config, "is_decoder", false, where);

  b.word_embeddings = "embeddings.word_embeddings";
  b.position_embeddings = "embeddings.position_embeddings";
  b.type_embeddings = "embeddings.token_type_embeddings";
  b.embedding_norm = "embeddings.LayerNorm";
  b.layer = {.prefix = "encoder.layer.{}.",
             .query = "attention.self.query",
             .key = "attention.self.key",
             .value = "attention.self.value",
             .output = "attention.output.dense",
             .attention_norm = "attention.output.LayerNorm",
             .up = "intermediate.dense",
             .down = "output.dense",
             .mlp_norm = "output.LayerNorm"};
  b.pooler = "pooler.dense";
  const HeadBlueprint words{.architecture = "ForMaskedLM",
                            .dense = "cls.predictions.transform.dense",
                            .activation = b.activation,
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

}  // namespace headscope::models
