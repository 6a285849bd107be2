#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/app.h"
#include "formats/json.h"
#include "formats/scratch.h"
#include "golden/golden.h"
#include "headscope/generate.h"
#include "headscope/safetensors.h"

namespace headscope::cli {
namespace {

nlohmann::json run_json(std::vector<std::string> words) {
  words.insert(words.begin(), "run");
  words.emplace_back("--json");
  std::string out;
  std::string complaint;
  EXPECT_EQ(run(words, out, complaint), 0) << complaint;
  return nlohmann::json::parse(out);
}

std::string stories() {
  return (golden::models_dir() / "stories260k" / "stories260K.gguf").string();
}

// expected-output.md holds what the published reference prints for an empty prompt at temperature 0.
TEST(GoldenRun, StoriesAreToldAsPublished) {
  HEADSCOPE_REQUIRE_MODEL("stories260k");
  const std::string page =
      read_file(golden::models_dir() / "stories260k" / "expected-output.md", 1 << 16);
  const std::size_t begin = page.find("Once upon a time");
  ASSERT_NE(begin, std::string::npos);
  std::string whole = page.substr(begin, page.find("```", begin) - begin);
  while (whole.ends_with('\n')) whole.pop_back();
  ASSERT_GT(whole.size(), 300U);
  const auto found = run_json({stories(), "Once upon a time", "-n", "300", "--exact"});
  const std::string answer = "Once upon a time" + found["text"].get<std::string>();
  EXPECT_EQ(answer.substr(0, whole.size()), whole);
}

TEST(GoldenRun, RoundedActivationsCostLittle) {
  HEADSCOPE_REQUIRE_MODEL("smollm2-135m");
  const std::filesystem::path play = golden::data_dir() / "text" / "tinyshakespeare.txt";
  if (!std::filesystem::exists(play)) GTEST_SKIP() << "no tinyshakespeare.txt beside the goldens";
  const std::string folder = (golden::models_dir() / "smollm2-135m").string();
  const Model exact = Model::load(folder);
  const Model fast = Model::load(folder, Linear::Compute::kFast);
  const std::string text = read_file(play, std::size_t{1} << 24).substr(0, 6000);
  const auto ids = exact.tokenizer().encode(text).ids;
  ASSERT_GT(ids.size(), 1500U);
  const double a = foresight(exact, ids).perplexity();
  const double b = foresight(fast, ids).perplexity();
  EXPECT_NEAR(b / a, 1.0, 0.005) << a << ' ' << b;
}

TEST(GoldenRun, APageAboutAHeadIsForOneStack) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  for (const char* family : {"t5", "bart", "marian"}) {
    const std::filesystem::path folder = golden::golden_dir() / "families" / family;
    const std::vector<std::string> words = {"head", folder.string(), "0.0", "--lang", "en"};
    std::string out, complaint;
    EXPECT_NE(run(words, out, complaint), 0) << family;
    EXPECT_NE(complaint.find("[head] expected a model of one stack of layers over words, found"),
              complaint.npos)
        << complaint;
  }
}

// A text beside no picture: the vector of the tower that reads. What ends texts is nothing to such a model.
TEST(GoldenRun, TwoTowersGiveTheVectorOfAText) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  for (const char* family : {"clip", "siglip"}) {
    SCOPED_TRACE(family);
    const Scratch scratch;
    for (const char* file : {"config.json", "model.safetensors"})
      std::filesystem::copy_file(golden::golden_dir() / "families" / family / file, scratch / file);
    const Model bare = Model::load(scratch.path().string());
    json::Value vocab = json::Value::object();
    for (std::int64_t id = 0; id < bare.vocabulary(); ++id) vocab["w" + std::to_string(id)] = id;
    const json::Value tokenizer = {
        {"version", "1.0"},
        {"pre_tokenizer", {{"type", "WhitespaceSplit"}}},
        {"model", {{"type", "WordLevel"}, {"vocab", vocab}, {"unk_token", "w0"}}}};
    write_file(scratch / "tokenizer.json", tokenizer.dump());
    write_file(scratch / "tokenizer_config.json", R"({"eos_token": "<nowhere>"})");
    const auto found = run_json({scratch.path().string(), "w3 w4 w5"});
    Tokens tokens;
    // SigLIP's texts are filled up to its positions, here with token 0.
    const bool filled = std::string_view(family) == "siglip";
    tokens.ids = Tensor::zeros(DType::kI32, {1, filled ? bare.positions() : 3});
    for (int i = 0; i < 3; ++i)
      tokens.ids.span<std::int32_t>()[static_cast<std::size_t>(i)] = 3 + i;
    const auto ran = bare.run(tokens);
    const auto expected = ran.more.at("text_embeds").span<float>();
    const auto vector = found["embedding"].get<std::vector<float>>();
    ASSERT_EQ(vector.size(), expected.size());
    for (std::size_t c = 0; c < vector.size(); ++c) EXPECT_NEAR(vector[c], expected[c], 1e-5F) << c;
  }
}

TEST(GoldenRun, LookingTellsWhereHeadsLooked) {
  HEADSCOPE_REQUIRE_MODEL("stories260k");
  const auto found = run_json({stories(), "Once upon a time", "-n", "5", "--look"});
  ASSERT_EQ(found["tokens"].size(), 5U);
  for (const auto& token : found["tokens"]) {
    ASSERT_FALSE(token["looks"].empty());
    for (const auto& look : token["looks"]) {
      EXPECT_GT(look["weight"].get<double>(), 0.0);
      EXPECT_LE(look["weight"].get<double>(), 1.0);
    }
  }
  EXPECT_EQ(found["text"], run_json({stories(), "Once upon a time", "-n", "5"})["text"]);
}

}  // namespace
}  // namespace headscope::cli
