// RoBERTa: Liu 2019. BERT with positions that skip padding and heads of its own.
#include "models/blueprint.h"

namespace headscope::models {

Blueprint roberta(const json::Value& config) {
  Blueprint b = bert(config);
  b.family = "roberta";
  b.prefixes = {"roberta."};
  b.positions_skip_padding = true;
  b.pad_token = json::get_or<std::int64_t>(config, "pad_token_id", 1, "config.json");
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
  return b;
}

}  // namespace headscope::models
