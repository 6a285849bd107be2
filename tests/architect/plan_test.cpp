// What plans say, from sizes alone and from short runs.
#include "architect/plan.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "headscope/error.h"
#include "models/census.h"
#include "models/resized.h"

namespace headscope::architect {
namespace {

Draft llama(std::int64_t heads, std::int64_t groups) {
  Draft draft;
  draft.config = {{"model_type", "llama"},
                  {"architectures", {"LlamaForCausalLM"}},
                  {"hidden_size", 64},
                  {"num_hidden_layers", 3},
                  {"num_attention_heads", heads},
                  {"num_key_value_heads", groups},
                  {"intermediate_size", 96},
                  {"vocab_size", 128},
                  {"max_position_embeddings", 256}};
  draft.context = 100;
  return draft;
}

std::string complaint(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Plan, FiguresAreThoseOfPaperAndPencil) {
  const Figures f = figures(llama(8, 2));
  // Per layer: q and o 64 x 64, k and v 64 x 16, three of 64 x 96, two norms; words twice, a norm.
  const std::int64_t maps = 2 * 64 * 64 + 2 * 64 * 16 + 3 * 64 * 96;
  EXPECT_EQ(f.parameters, 3 * (maps + 2 * 64) + 2 * 128 * 64 + 64);
  const std::int64_t norms = 3 * 2 * 64 + 64;
  EXPECT_EQ(f.weight_bytes, static_cast<std::uint64_t>(2 * (f.parameters - norms) + 4 * norms));
  EXPECT_EQ(f.cache_bytes, 3U * 2 * 2 * 8 * 100 * 4);  // layers, k and v, G, D, tokens, bytes
  const double products = 2.0 * (3.0 * static_cast<double>(maps) + 128 * 64);
  EXPECT_DOUBLE_EQ(f.decode_flop, products + 3.0 * 4.0 * 64 * 100);
  EXPECT_DOUBLE_EQ(f.read_flop, products + 3.0 * 4.0 * 64 * 50.5);
  EXPECT_EQ(f.training_bytes, 16U * static_cast<std::uint64_t>(f.parameters));
}

/// An encoder whose class may have a pooler.
Draft bert(const char* architecture) {
  Draft draft;
  draft.config = {{"model_type", "bert"},
                  {"architectures", {architecture}},
                  {"hidden_size", 64},
                  {"num_hidden_layers", 1},
                  {"num_attention_heads", 4},
                  {"intermediate_size", 96},
                  {"vocab_size", 4000},
                  {"max_position_embeddings", 64}};
  draft.context = 50;
  return draft;
}

TEST(Plan, CountsThePoolerThatTheFileHas) {
  const std::int64_t pooler = 64 * 64 + 64;
  const auto numbers = [](const Draft& draft) { return figures(draft).parameters; };
  const Draft bare = bert("BertModel");
  Draft without = bare;
  look_into(without, [](const std::string& name) { return name != "pooler.dense.weight"; });
  EXPECT_EQ(numbers(bare) - numbers(without), pooler);
  EXPECT_EQ(numbers(with_heads(bare, 8, {})) - numbers(with_heads(without, 8, {})), pooler);
  const Draft words = bert("BertForMaskedLM");
  Draft pooled = words;
  look_into(pooled, [](const std::string&) { return true; });
  EXPECT_EQ(numbers(pooled) - numbers(words), pooler);
  Draft headless = words;
  look_into(headless, [](const std::string& name) { return name.find("cls.") != 0; });
  EXPECT_TRUE(headless.headless);
  EXPECT_EQ(numbers(headless), numbers(bare));
}

TEST(Plan, LogitsAreWorkOfModelsWithAHeadAlone) {
  const Figures none = figures(bert("BertModel"));
  const Figures words = figures(bert("BertForMaskedLM"));
  const Figures classes = figures(bert("BertForSequenceClassification"));
  EXPECT_EQ(words.working_bytes - none.working_bytes, 4U * 50 * 4000);
  EXPECT_EQ(classes.working_bytes - none.working_bytes, 4U * 2);
  EXPECT_FALSE(words.generates);
  EXPECT_EQ(words.decode_flop, 0.0);
  EXPECT_TRUE(figures(llama(8, 8)).generates);
}

TEST(Plan, SaysWhatMatricesAreKeptIn) {
  EXPECT_EQ(figures(llama(8, 8)).kept, DType::kBF16);
  Draft gpt2;
  gpt2.config = {{"model_type", "gpt2"},
                 {"architectures", {"GPT2LMHeadModel"}},
                 {"n_embd", 64},
                 {"n_layer", 1},
                 {"n_head", 4},
                 {"n_positions", 64},
                 {"vocab_size", 128}};
  gpt2.context = 32;
  const Figures f = figures(gpt2);
  EXPECT_EQ(f.kept, DType::kF32);
  EXPECT_EQ(f.weight_bytes, 4U * static_cast<std::uint64_t>(f.parameters));
  EXPECT_EQ(advise(gpt2, 1000).dtype, DType::kF32);
}

TEST(Plan, OfTwoMeasurementsTheFasterFigureCounts) {
  const Speeds disturbed{.read = 10.0, .decode = 5.0, .train = 0.0, .seconds = 1.0, .around = 2.0};
  const Speeds other{.read = 8.0, .decode = 6.0, .train = 0.0, .seconds = 2.0, .around = 0.0};
  const Speeds s = better(disturbed, other);
  EXPECT_EQ(s.read, 10.0);
  EXPECT_EQ(s.decode, 6.0);
  EXPECT_EQ(s.train, 0.0);
  EXPECT_EQ(s.seconds, 3.0);
  EXPECT_EQ(s.around, 2.0);
}

TEST(Plan, HeadsAtEqualWidthChangeGroupsAlone) {
  const Figures eight = figures(llama(8, 8));
  for (const std::int64_t H : {1, 2, 4, 16}) {
    const Figures f = figures(with_heads(llama(8, 8), H, {}));
    EXPECT_EQ(f.parameters, eight.parameters) << H;
    EXPECT_EQ(f.cache_bytes, eight.cache_bytes) << H;
    EXPECT_EQ(f.heads, H);
    EXPECT_EQ(f.groups, H);
    EXPECT_EQ(f.head_width, 64 / H);
  }
  const Figures grouped = figures(with_heads(llama(8, 8), 8, 2));
  EXPECT_EQ(grouped.cache_bytes * 4, eight.cache_bytes);
  EXPECT_LT(grouped.parameters, eight.parameters);
}

TEST(Plan, AdviceKeepsTheBudget) {
  Draft draft = llama(8, 8);
  draft.context = 256;
  draft.batch = 64;
  const std::uint64_t budget = figures(with_heads(draft, 8, 4)).memory();
  const Advice four = advise(draft, budget);
  EXPECT_EQ(four.groups, 4);
  EXPECT_LT(four.context, draft.context);
  Draft shorter = draft;
  shorter.context = four.context;
  EXPECT_LE(figures(shorter).memory(), budget);
  ++shorter.context;
  EXPECT_GT(figures(shorter).memory(), budget);
  EXPECT_FALSE(advise(draft, 1000).groups.has_value());
  EXPECT_EQ(advise(draft, 1000).context, 0);
  EXPECT_GT(advise(draft, 1000).least, 1000U);
  EXPECT_EQ(advise(draft, std::uint64_t{1} << 40).groups, 8);
}

TEST(Plan, WindowsBoundTheCache) {
  Draft draft = llama(8, 8);
  draft.config["model_type"] = "mistral";
  draft.config["architectures"] = {"MistralForCausalLM"};
  draft.config["max_position_embeddings"] = 1 << 20;
  draft.config["sliding_window"] = 64;
  draft.context = 100'000;
  const std::uint64_t long_one = figures(draft).cache_bytes;
  draft.context = 10'000;
  EXPECT_EQ(figures(draft).cache_bytes, long_one);
}

TEST(Plan, BadSizesAreRefusedInOneLine) {
  Draft draft = llama(8, 8);
  EXPECT_NE(complaint([&] { (void)with_heads(draft, 7, {}); }).find("divide 64"),
            std::string::npos);
  EXPECT_NE(complaint([&] { (void)with_heads(draft, 8, 3); }).find("divide 8"), std::string::npos);
  draft.context = 257;
  EXPECT_NE(complaint([&] { (void)figures(draft); }).find("256"), std::string::npos);
  draft.context = 16;
  draft.dtype = DType::kQ6_K;
  EXPECT_NE(complaint([&] { (void)figures(draft); }).find("[dtype]"), std::string::npos);
  draft.dtype = DType::kBF16;
  draft.batch = 0;
  EXPECT_NE(complaint([&] { (void)figures(draft); }).find("[batch]"), std::string::npos);
  EXPECT_NE(
      complaint([&] { (void)with_heads(bert("BertModel"), 4, 2); }).find("groups can be chosen"),
      std::string::npos);
}

TEST(Plan, LayersOfResizedConfigsKeepTheirKinds) {
  json::Value config = llama(8, 8).config;
  config["layer_types"] = {"a", "b", "a"};
  models::Sizes longer;
  longer.layers = 5;
  const json::Value five = models::resized(config, longer);
  EXPECT_EQ(five["layer_types"], json::Value({"a", "b", "a", "a", "b"}));
  models::Sizes wider;
  wider.width = 128;
  EXPECT_EQ(models::resized(config, wider)["intermediate_size"], 192);
}

TEST(Plan, MeasuresEveryKindOfRun) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kQ8_0}) {
    Draft draft = llama(4, 2);
    draft.dtype = dtype;
    draft.batch = 2;
    MeasureOptions options;
    options.seconds = 0.01;
    const Speeds s = measure(draft, options);
    EXPECT_GT(s.read, 0.0);
    EXPECT_GT(s.decode, 0.0);
    EXPECT_GT(s.train, 0.0);
    EXPECT_LT(s.read, 1e9);
  }
  // A body without a head reads, and has no loss to train by.
  Draft body;
  body.config = {{"model_type", "bert"},
                 {"architectures", {"BertModel"}},
                 {"hidden_size", 32},
                 {"num_hidden_layers", 2},
                 {"num_attention_heads", 4},
                 {"intermediate_size", 64},
                 {"vocab_size", 100},
                 {"max_position_embeddings", 32},
                 {"type_vocab_size", 2}};
  body.context = 32;
  MeasureOptions quick;
  quick.seconds = 0.01;
  EXPECT_FALSE(trains(body));
  EXPECT_GT(measure(body, quick).read, 0.0);
  MeasureOptions little;
  little.memory = 1000;
  EXPECT_NE(complaint([&] { (void)measure(llama(4, 2), little); }).find("[measure]"),
            std::string::npos);
}

}  // namespace
}  // namespace headscope::architect
