#pragma once

#include "models/words.h"

/// One function a family: config.json to facts.
namespace headscope::models {

Blueprint albert(const json::Value& config);
Blueprint bert(const json::Value& config);
Blueprint bloom(const json::Value& config);
Blueprint codegen(const json::Value& config);
Blueprint cohere(const json::Value& config);
Blueprint cohere2(const json::Value& config);
Blueprint deberta_v2(const json::Value& config);
Blueprint deepseek_v2(const json::Value& config);
Blueprint deepseek_v3(const json::Value& config);
Blueprint distilbert(const json::Value& config);
Blueprint electra(const json::Value& config);
Blueprint falcon(const json::Value& config);
Blueprint gemma(const json::Value& config);
Blueprint gemma2(const json::Value& config);
Blueprint gemma3_text(const json::Value& config);
Blueprint glm(const json::Value& config);
Blueprint glm4(const json::Value& config);
Blueprint gpt2(const json::Value& config);
Blueprint gpt_neo(const json::Value& config);
Blueprint gpt_neox(const json::Value& config);
Blueprint gpt_oss(const json::Value& config);
Blueprint gptj(const json::Value& config);
Blueprint granite(const json::Value& config);
Blueprint llama(const json::Value& config);
Blueprint mistral(const json::Value& config);
Blueprint mixtral(const json::Value& config);
Blueprint modernbert(const json::Value& config);
Blueprint mpnet(const json::Value& config);
Blueprint mpt(const json::Value& config);
Blueprint nemotron(const json::Value& config);
Blueprint olmo(const json::Value& config);
Blueprint olmo2(const json::Value& config);
Blueprint olmo3(const json::Value& config);
Blueprint opt(const json::Value& config);
Blueprint phi(const json::Value& config);
Blueprint phi3(const json::Value& config);
Blueprint qwen2(const json::Value& config);
Blueprint qwen2_moe(const json::Value& config);
Blueprint qwen3(const json::Value& config);
Blueprint qwen3_moe(const json::Value& config);
Blueprint roberta(const json::Value& config);
Blueprint smollm3(const json::Value& config);
Blueprint stablelm(const json::Value& config);
Blueprint starcoder2(const json::Value& config);

PairBlueprint bart(const json::Value& config);
PairBlueprint marian(const json::Value& config);
PairBlueprint mbart(const json::Value& config);
PairBlueprint mt5(const json::Value& config);
PairBlueprint t5(const json::Value& config);
PairBlueprint umt5(const json::Value& config);
PairBlueprint whisper(const json::Value& config);

}  // namespace headscope::models
