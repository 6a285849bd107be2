#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "cli/app.h"
#include "cli/bench_case.h"
#include "cli/screen.h"
#include "kernels/measure.h"
#include "models/tiny_decoder.h"
#include "models/tiny_pair.h"

namespace headscope::cli {
namespace {

using Json = nlohmann::json;

const std::set<std::string> kFlopKeys{"name",
                                      "isa",
                                      "dtype",
                                      "heads",
                                      "groups",
                                      "T",
                                      "D",
                                      "options",
                                      "sight",
                                      "seconds",
                                      "tflops",
                                      "peak_tflops",
                                      "share"};

struct Outcome {
  int status = -1;
  std::string out, complaint;
};

Outcome bench_with(std::vector<std::string> arguments) {
  Outcome outcome;
  arguments.insert(arguments.begin(), {"bench", "--lang=en"});
  outcome.status = run(arguments, outcome.out, outcome.complaint);
  return outcome;
}

std::set<std::string> keys_of(const Json& row) {
  std::set<std::string> keys;
  for (const auto& item : row.items()) keys.insert(item.key());
  return keys;
}

void expect_positive(const Json& row, std::initializer_list<const char*> keys) {
  for (const char* key : keys) EXPECT_GT(row.at(key).get<double>(), 0.0) << row.dump();
}

TEST(Bench, QuickFocusRowsHaveTheirKeysAndAddUp) {
  const Outcome outcome = bench_with({"focus", "--quick", "--json"});
  ASSERT_EQ(outcome.status, 0) << outcome.complaint;
  const Json rows = Json::parse(outcome.out);
  std::set<std::string> dtypes, sights;
  for (const Json& row : rows) {
    EXPECT_EQ(keys_of(row), kFlopKeys);
    expect_positive(row, {"seconds", "tflops", "peak_tflops", "share"});
    const double share = row.at("tflops").get<double>() / row.at("peak_tflops").get<double>();
    EXPECT_NEAR(row.at("share").get<double>(), share, 1e-4 * share);
    dtypes.insert(row.at("dtype"));
    sights.insert(row.at("sight"));
    if (row.at("options") != "plain") continue;
    const double T = row.at("T"), D = row.at("D"), heads = row.at("heads");
    const double flop = row.at("tflops").get<double>() * 1e12 * row.at("seconds").get<double>();
    EXPECT_NEAR(flop, 4.0 * heads * T * T * D, 1e-4 * flop) << row.dump();
  }
  EXPECT_EQ(dtypes, (std::set<std::string>{"bf16", "f32"}));
  EXPECT_EQ(sights, (std::set<std::string>{"everything", "maps", "none", "stats"}));
}

TEST(Bench, QuickBackwardRowsHaveTheirKeysAndAddUp) {
  const Outcome outcome = bench_with({"backward", "--quick", "--json"});
  ASSERT_EQ(outcome.status, 0) << outcome.complaint;
  const Json rows = Json::parse(outcome.out);
  EXPECT_EQ(rows.size(), 4U);
  for (const Json& row : rows) {
    EXPECT_EQ(keys_of(row), kFlopKeys);
    expect_positive(row, {"seconds", "tflops", "peak_tflops", "share"});
    const double T = row.at("T"), D = row.at("D"), heads = row.at("heads");
    const double pairs = row.at("options") == "causal" ? 0.5 * T * (T + 1.0) : T * T;
    const double flop = row.at("tflops").get<double>() * 1e12 * row.at("seconds").get<double>();
    EXPECT_NEAR(flop, 10.0 * heads * pairs * D, 1e-4 * flop) << row.dump();
  }
}

TEST(Bench, QuickDecodeAndLimitsRowsHaveTheirKeys) {
  const Outcome outcome = bench_with({"decode", "limits", "--quick", "--json"});
  ASSERT_EQ(outcome.status, 0) << outcome.complaint;
  int decodes = 0, limits = 0;
  for (const Json& row : Json::parse(outcome.out)) {
    if (row.contains("unit")) {
      ++limits;
      EXPECT_EQ(keys_of(row),
                (std::set<std::string>{"name", "isa", "threads", "seconds", "value", "unit"}));
      expect_positive(row, {"threads", "seconds", "value"});
    } else {
      ++decodes;
      EXPECT_EQ(keys_of(row),
                (std::set<std::string>{"name",
                                       "isa",
                                       "dtype",
                                       "heads",
                                       "groups",
                                       "T",
                                       "D",
                                       "options",
                                       "sight",
                                       "seconds",
                                       "gbytes",
                                       "peak_gbytes",
                                       "share"}));
      expect_positive(row, {"seconds", "gbytes", "peak_gbytes", "share"});
    }
  }
  EXPECT_EQ(decodes, 2);
  EXPECT_GE(limits, 3);
}

TEST(Bench, TheTableFitsTheScreen) {
  const Outcome outcome = bench_with({"limits", "--quick", "--threads", "1", "--width", "72"});
  ASSERT_EQ(outcome.status, 0) << outcome.complaint;
  EXPECT_NE(outcome.out.find("fma_f32"), std::string::npos) << outcome.out;
  std::istringstream lines(outcome.out);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(columns(line), 72) << line;
}

TEST(Bench, TimesAreInTheLanguageOfTheScreen) {
  const Outcome outcome = bench_with({"limits", "--quick", "--threads", "1", "--lang", "ru"});
  ASSERT_EQ(outcome.status, 0) << outcome.complaint;
  EXPECT_NE(outcome.out.find(" мс "), std::string::npos) << outcome.out;
  EXPECT_EQ(outcome.out.find(" ms "), std::string::npos) << outcome.out;
}

TEST(Bench, WrongWordsAreUsageErrors) {
  for (const std::vector<std::string>& wrong : std::vector<std::vector<std::string>>{
           {"speed"}, {"focus", "x"}, {"--fast"}, {"--threads", "0"}}) {
    const Outcome outcome = bench_with(wrong);
    EXPECT_EQ(outcome.status, 2) << outcome.complaint;
    EXPECT_TRUE(outcome.out.empty());
    EXPECT_TRUE(outcome.complaint.starts_with("[bench] ")) << outcome.complaint;
  }
}

TEST(Bench, OnlyVisibleScoresCountAsWork) {
  const auto scores = [](std::string_view options) {
    FocusCase call(
        {.heads = 1, .groups = 1, .rows = 512, .keys = 512, .width = 16, .options = options});
    call.run();
    return call.flop() / (4.0 * 16.0);
  };
  EXPECT_EQ(scores("plain"), 512.0 * 512.0);
  EXPECT_EQ(scores("softcap"), 512.0 * 512.0);
  EXPECT_EQ(scores("alibi"), 512.0 * 512.0);
  EXPECT_EQ(scores("bias"), 512.0 * 512.0);
  EXPECT_EQ(scores("causal"), 512.0 * 513.0 / 2.0);
  EXPECT_EQ(scores("window"), 512.0 * 513.0 / 2.0 - 256.0 * 257.0 / 2.0);
  EXPECT_EQ(scores("padding"), 512.0 * 448.0);
}

TEST(Bench, AModelThatIsNoDecoderIsRefused) {
  const test::TinyPair pair(test::TinyPair::Kind::kT5);
  const Outcome of_pair = bench_with({pair.folder().path().string()});
  EXPECT_EQ(of_pair.status, 3);
  EXPECT_TRUE(of_pair.complaint.starts_with("[bench] expected a decoder")) << of_pair.complaint;
  EXPECT_NE(of_pair.complaint.find("an encoder-decoder of family t5"), std::string::npos);
  const Outcome of_encoder = bench_with({"planted"});
  EXPECT_EQ(of_encoder.status, 3);
  EXPECT_TRUE(of_encoder.complaint.starts_with("[bench] expected a decoder"));
}

TEST(Bench, AModelKeepsKeysAndValuesAsAsked) {
  const test::TinyDecoder tiny;  // 64 positions: nothing but 16 tokens and an answer fit
  const std::string folder = tiny.folder().path().string();
  for (const char* cache : {"f32", "bf16"}) {
    const Outcome found = bench_with({folder, "--quick", "--json", "--cache", cache});
    ASSERT_EQ(found.status, 0) << found.complaint;
    const auto rows = nlohmann::json::parse(found.out);
    ASSERT_EQ(rows.size(), 1U);
    EXPECT_EQ(rows[0]["cache"], cache);
  }
  EXPECT_NE(bench_with({folder, "--quick"}).out.find("keys and values in f32"), std::string::npos);
  EXPECT_EQ(bench_with({folder, "--cache", "q8_0"}).status, 2);
  const Outcome groups = bench_with({"focus", "--quick", "--cache", "bf16"});
  EXPECT_EQ(groups.status, 2);
  EXPECT_NE(groups.complaint.find("expected --cache MODEL"), std::string::npos) << groups.complaint;
}

TEST(Bench, MediansAndPeaksAreSane) {
  int runs = 0;
  const double median =
      kernels::median_seconds([&] { ++runs; }, {.seconds = 10.0, .least = 3, .most = 7});
  EXPECT_EQ(runs, 8) << "one to warm up and seven that count";
  EXPECT_GE(median, 0.0);
  for (const kernels::Peak& peak : kernels::peaks()) {
    EXPECT_GT(peak.body(10), 0.0) << peak.name;
    EXPECT_DOUBLE_EQ(peak.body(20), 2.0 * peak.body(10)) << peak.name;
  }
  std::vector<float> numbers(10'000 + 16, 0.5F);
  float* from = numbers.data();
  while (reinterpret_cast<std::uintptr_t>(from) % 64 != 0) ++from;
  EXPECT_EQ(kernels::read_floats(from, 10'000), 5'000.0F) << "every number is read";
}

}  // namespace
}  // namespace headscope::cli
