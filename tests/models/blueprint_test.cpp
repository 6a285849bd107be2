#include "models/blueprint.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "formats/scratch.h"
#include "headscope/model.h"
#include "headscope/safetensors.h"
#include "models/weights.h"

namespace headscope {
namespace {

using models::Blueprint;
using models::read_blueprint;

json::Value roberta_config() {
  return {{"model_type", "roberta"},
          {"num_hidden_layers", 1},
          {"num_attention_heads", 2},
          {"hidden_size", 4},
          {"intermediate_size", 3},
          {"vocab_size", 10},
          {"type_vocab_size", 1},
          {"max_position_embeddings", 6},
          {"pad_token_id", 1}};
}

// A folder with a tiny random model of this configuration.
void write_model(const Scratch& scratch, const json::Value& config) {
  std::map<std::string, Tensor> tensors;
  float next = 0.1F;
  const auto put = [&](const std::string& name, Shape shape) {
    Tensor t(DType::kF32, std::move(shape));
    for (float& x : t.span<float>()) x = next = next > 0.9F ? -0.7F : next + 0.13F;
    tensors.emplace(name, std::move(t));
  };
  const auto linear = [&](const std::string& name, std::int64_t in, std::int64_t out) {
    put(name + ".weight", {out, in});
    put(name + ".bias", {out});
  };
  const auto norm = [&](const std::string& name) {
    put(name + ".weight", {4});
    put(name + ".bias", {4});
  };
  put("embeddings.word_embeddings.weight", {10, 4});
  put("embeddings.position_embeddings.weight", {6, 4});
  put("embeddings.token_type_embeddings.weight", {1, 4});
  norm("embeddings.LayerNorm");
  const std::string layer = "encoder.layer.0.";
  for (const char* name : {"attention.self.query",
                           "attention.self.key",
                           "attention.self.value",
                           "attention.output.dense"}) {
    linear(layer + name, 4, 4);
  }
  norm(layer + "attention.output.LayerNorm");
  linear(layer + "intermediate.dense", 4, 3);
  linear(layer + "output.dense", 3, 4);
  norm(layer + "output.LayerNorm");
  std::map<std::string, AnyView, std::less<>> views;
  for (const auto& [name, tensor] : tensors) views.emplace(name, tensor.any());
  write_safetensors(scratch / "model.safetensors", views);
  write_file(scratch / "config.json", config.dump());
}

Tokens tokens_of(const std::vector<std::int32_t>& ids) {
  Tokens t{Tensor(DType::kI32, {1, static_cast<std::int64_t>(ids.size())}), {}, {}, {}};
  std::copy(ids.begin(), ids.end(), t.ids.span<std::int32_t>().begin());
  return t;
}

TEST(Blueprint, TheNearestFamilyGoesOnOrBeginsAlikeOrHasLettersSwapped) {
  const std::pair<const char*, const char*> cases[] = {{"gemma3_tex", "gemma3_text"},
                                                       {"lamma", "llama"},
                                                       {"llama4", "llama"},
                                                       {"gtp2", "gpt2"},
                                                       {"deepseek", "deepseek_v2"},
                                                       {"Mistral", "mistral"}};
  for (const auto& [type, nearest] : cases) {
    try {
      (void)read_blueprint({{"model_type", type}});
      ADD_FAILURE() << type;
    } catch (const Error& e) {
      const std::string said = e.what();
      EXPECT_TRUE(said.ends_with(std::string("nearest is \"") + nearest + '"')) << said;
    }
  }
}

TEST(Blueprint, AnUnknownFamilyNamesTheNearestAndAll) {
  try {
    (void)read_blueprint({{"model_type", "robeta"}});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kUnsupported);
    const std::string said = e.what();
    EXPECT_TRUE(said.starts_with("[config.json] expected model_type to be one of albert, bart, "))
        << said;
    EXPECT_TRUE(said.ends_with(", found \"robeta\"; the nearest is \"roberta\"")) << said;
    for (const std::string& family : families()) EXPECT_NE(said.find(family), std::string::npos);
  }
}

TEST(Blueprint, SizesThatCannotBeAreRefused) {
  for (const char* key : {"num_hidden_layers",
                          "num_attention_heads",
                          "hidden_size",
                          "vocab_size",
                          "max_position_embeddings"}) {
    for (const json::Value& wrong :
         {json::Value(0), json::Value(-3), json::Value("many"), json::Value(1e300)}) {
      json::Value config = roberta_config();
      config[key] = wrong;
      EXPECT_THROW((void)read_blueprint(config), Error) << key << " " << wrong;
    }
  }
  json::Value config = roberta_config();
  config["pad_token_id"] = std::numeric_limits<std::int64_t>::min();
  EXPECT_THROW((void)read_blueprint(config), Error);
  config["num_attention_heads"] = 3;  // does not divide 4
  EXPECT_THROW((void)read_blueprint(config), Error);
}

// Padding takes no position, so more tokens than positions are fine when enough of them are padding.
TEST(Roberta, PaddingTakesNoPosition) {
  const Scratch scratch;
  write_model(scratch, roberta_config());
  const Model model = Model::load(scratch.path().string());
  EXPECT_EQ(model.positions(), 4);
  const headscope::Run whole = model.run(tokens_of({5, 6, 7, 8}));
  const headscope::Run padded = model.run(tokens_of({1, 1, 5, 6, 7, 8}));
  EXPECT_EQ(whole.last_hidden_state.dim(1), 4);
  EXPECT_EQ(padded.last_hidden_state.dim(1), 6);
  EXPECT_THROW((void)model.run(tokens_of({5, 6, 7, 8, 9})), Error);
}

TEST(Model, WhatDoesNotFitIsNamed) {
  const Scratch scratch;
  json::Value config = roberta_config();
  config["vocab_size"] = 11;
  write_model(scratch, config);
  try {
    (void)Model::load(scratch.path().string());
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kShape);
    EXPECT_NE(std::string(e.what()).find("embeddings.word_embeddings.weight [11,4], found [10,4]"),
              std::string::npos)
        << e.what();
  }
}

// What stands on top has biases that its classes always have.
TEST(Model, AHeadWithoutItsBiasIsRefused) {
  const struct {
    const char* architecture;
    std::vector<std::pair<std::string, Shape>> tensors;
  } kHeads[] = {
      {"RobertaForTokenClassification", {{"classifier.weight", {3, 4}}, {"classifier.bias", {3}}}},
      {"RobertaForSequenceClassification",
       {{"classifier.dense.weight", {4, 4}},
        {"classifier.dense.bias", {4}},
        {"classifier.out_proj.weight", {3, 4}},
        {"classifier.out_proj.bias", {3}}}},
      {"RobertaForMaskedLM",
       {{"lm_head.dense.weight", {4, 4}},
        {"lm_head.dense.bias", {4}},
        {"lm_head.layer_norm.weight", {4}},
        {"lm_head.layer_norm.bias", {4}},
        {"lm_head.bias", {10}}}}};
  for (const auto& head : kHeads) {
    SCOPED_TRACE(head.architecture);
    const Scratch scratch;
    json::Value config = roberta_config();
    config["architectures"] = {head.architecture};
    write_model(scratch, config);
    std::map<std::string, Tensor> made;
    float next = 0.0F;
    for (const auto& [name, shape] : head.tensors) {
      Tensor t(DType::kF32, shape);
      for (float& x : t.span<float>()) x = next = next > 0.9F ? -0.7F : next + 0.17F;
      made.emplace(name, std::move(t));
    }
    const auto load = [&](const std::string& missing, const std::string& renamed) {
      LoadOptions options;
      options.change = [&](models::Tensors& tensors) {
        for (const auto& [name, tensor] : made) {
          if (name != missing) tensors.by_name.emplace(name, tensor.any());
        }
        if (!renamed.empty()) tensors.by_name.emplace(renamed, made.at(missing).any());
      };
      return Model::load(scratch.path().string(), options);
    };
    const headscope::Run whole = load("", "").run(tokens_of({5, 6, 7}));
    EXPECT_FALSE(whole.logits.empty());
    for (const auto& [name, shape] : head.tensors) {
      if (!name.ends_with("bias")) continue;
      try {
        (void)load(name, "");
        ADD_FAILURE() << name;
      } catch (const Error& e) {
        EXPECT_EQ(e.code(), ErrorCode::kNotFound);
        EXPECT_NE(std::string(e.what()).find(name), std::string::npos) << e.what();
      }
    }
    // Newer files call the bias of the words as the map that it belongs to.
    if (!made.contains("lm_head.bias")) continue;
    const headscope::Run same =
        load("lm_head.bias", "lm_head.decoder.bias").run(tokens_of({5, 6, 7}));
    EXPECT_TRUE(std::ranges::equal(same.logits.span<float>(), whole.logits.span<float>()));
  }
}

TEST(Model, TokensEditsAndLayersThatAreNotThereAreRefused) {
  const Scratch scratch;
  write_model(scratch, roberta_config());
  const Model model = Model::load(scratch.path().string());
  EXPECT_THROW((void)model.run(tokens_of({10})), Error);
  EXPECT_THROW((void)model.run(tokens_of({-1})), Error);
  EXPECT_THROW((void)model.run(tokens_of({})), Error);
  RunOptions options;
  options.edits.emplace_back().head = 2;
  EXPECT_THROW((void)model.run(tokens_of({5}), options), Error);
  options = {};
  options.trace_layers = {0, 0};
  EXPECT_THROW((void)model.run(tokens_of({5}), options), Error);
  EXPECT_THROW((void)model.tokenizer(), Error);  // the folder has none
}

}  // namespace
}  // namespace headscope
