// `plan` and `sweep` as people call them.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "cli/app.h"
#include "formats/json.h"
#include "formats/scratch.h"
#include "headscope/safetensors.h"
#include "train/hold.h"
#include "train/texts.h"

namespace headscope::cli {
namespace {

struct Answer {
  int status = 0;
  std::string out, complaint;
};

Answer call(const std::vector<std::string>& words) {
  Answer answer;
  answer.status = run(words, answer.out, answer.complaint);
  return answer;
}

TEST(PlanVerb, SaysWhatFitsABudget) {
  const std::vector<std::string> numbers = {"plan",
                                            "--layers",
                                            "2",
                                            "--model-width",
                                            "64",
                                            "--heads",
                                            "8",
                                            "--vocabulary",
                                            "64",
                                            "--batch",
                                            "16",
                                            "--context",
                                            "2k",
                                            "--json",
                                            "--no-measure"};
  const Answer free = call(numbers);
  ASSERT_EQ(free.status, 0) << free.complaint;
  const json::Value all = json::parse(free.out, "plan");
  std::int64_t four = 0;
  for (const auto& row : all["rows"]) {
    if (row["heads"] == 8 && row["groups"] == 4) {
      four = row["weight_bytes"].get<std::int64_t>() + row["cache_bytes"].get<std::int64_t>() +
             row["working_bytes"].get<std::int64_t>();
    }
  }
  ASSERT_GT(four, 0);
  std::vector<std::string> words = numbers;
  words.insert(words.end(), {"--memory", std::to_string(four / 1000 + 1) + "KB"});
  const json::Value kept = json::parse(call(words).out, "plan");
  EXPECT_EQ(kept["advice"]["most_groups"], 4);
  EXPECT_LT(kept["advice"]["longest_context"], 2048);
  words.back() = "1KB";
  EXPECT_EQ(call(words).status, 1);
}

TEST(PlanVerb, KeepsKeysAndValuesAsRunDoes) {
  const std::vector<std::string> words = {"plan",
                                          "--layers",
                                          "2",
                                          "--model-width",
                                          "64",
                                          "--vocabulary",
                                          "64",
                                          "--json",
                                          "--no-measure"};
  const auto own = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all = words;
    all.insert(all.end(), more.begin(), more.end());
    const Answer answer = call(all);
    EXPECT_EQ(answer.status, 0) << answer.complaint;
    return json::parse(answer.out, "plan");
  };
  const json::Value usual = own({});
  const json::Value half = own({"--cache", "bf16"});
  EXPECT_EQ(usual["cache"], "f32");
  EXPECT_EQ(half["cache"], "bf16");
  EXPECT_EQ(usual["rows"][0]["cache_bytes"].get<std::int64_t>(),
            2 * half["rows"][0]["cache_bytes"].get<std::int64_t>());
  std::vector<std::string> wrong = words;
  wrong.insert(wrong.end(), {"--cache", "q8_0"});
  EXPECT_EQ(call(wrong).status, 2);
}

TEST(PlanVerb, MarksWhatFitsWithoutColour) {
  const Scratch scratch;
  // Four in one share a key: the cache, and so the memory, grows with the groups.
  const std::vector<std::string> words = {
      "plan",    "--layers",     "2",        "--model-width",
      "64",      "--heads",      "8",        "--vocabulary",
      "64",      "--batch",      "16",       "--context",
      "2k",      "--no-measure", "--memory", "20MB",
      "--color", "never",        "-o",       (scratch / "p.svg").string()};
  const Answer answer = call(words);
  ASSERT_LE(answer.status, 1) << answer.complaint;
  const auto count = [](const std::string& text, const std::string& sign) {
    int n = 0;
    for (std::size_t at = text.find(sign); at != std::string::npos; at = text.find(sign, at + 1))
      ++n;
    return n;
  };
  // One of each is in the legend.
  EXPECT_GT(count(answer.out, "✓"), 1) << answer.out;
  EXPECT_GT(count(answer.out, "✗"), 1) << answer.out;
  const std::string svg = read_file(scratch / "p.svg");
  EXPECT_EQ(count(svg, "✓"), count(answer.out, "✓"));
  EXPECT_EQ(count(svg, "✗"), count(answer.out, "✗"));
  EXPECT_NE(svg.find("class=\"base\""), std::string::npos);
}

TEST(PlanVerb, CountsWhatTheFileHas) {
  const Answer answer = call({"plan", "planted", "--no-measure", "--json"});
  ASSERT_EQ(answer.status, 0) << answer.complaint;
  const json::Value all = json::parse(answer.out, "plan");
  for (const auto& row : all["rows"]) EXPECT_EQ(row["parameters"], all["file_parameters"]);
  const std::string text = call({"plan", "planted", "--no-measure", "--lang", "en"}).out;
  EXPECT_NE(text.find("1 layer x 8 heads"), std::string::npos) << text;
  EXPECT_EQ(text.find("answering"), std::string::npos) << text;
}

TEST(PlanVerb, DrawsTheTable) {
  const Scratch scratch;
  for (const char* name : {"plan.svg", "plan.html"}) {
    const Answer answer =
        call({"plan", "planted", "--no-measure", "-o", (scratch / name).string()});
    ASSERT_EQ(answer.status, 0) << answer.complaint;
    EXPECT_NE(read_file(scratch / name).find("<svg"), std::string::npos);
  }
  EXPECT_EQ(call({"plan", "planted", "-o", (scratch / "plan.png").string()}).status, 2);
}

TEST(PlanVerb, RefusesWhatCannotBe) {
  const std::vector<std::vector<std::string>> wrong = {
      {"plan"},
      {"plan", "--layers", "2", "--model-width", "64", "--heads", "7"},
      {"plan", "--layers", "2", "--model-width", "64", "--heads", "8", "--groups", "3"},
      {"plan", "--layers", "2", "--model-width", "64", "--dtype", "q9"},
      {"plan", "--layers", "2", "--model-width", "64", "--memory", "8"},
      {"plan", "--layers", "2", "--model-width", "64", "--heads", "2,2"},
      {"plan", "planted", "--context", "1000k"}};
  for (const auto& words : wrong) {
    const Answer answer = call(words);
    EXPECT_EQ(answer.status, 2) << words.back();
    EXPECT_NE(answer.complaint.find("expected"), std::string::npos) << answer.complaint;
  }
}

TEST(SweepVerb, TrainsSumsUpAndDraws) {
  const Scratch scratch;
  write_file(scratch / "text.txt", std::string_view(train::testing::sentences(200, 1)));
  write_file(scratch / "r.toml", std::string_view(R"(name = "tiny"
objective = "causal"
[model]
model_type = "gpt2"
architectures = ["GPT2LMHeadModel"]
n_embd = 16
n_layer = 1
n_head = 2
n_positions = 32
[tokenizer]
kind = "unigram"
size = 200
[data]
train = ["text.txt"]
window = 16
[training]
batch_tokens = 64
steps = 10
)"));
  const std::vector<std::string> words = {"sweep",
                                          (scratch / "r.toml").string(),
                                          "-o",
                                          (scratch / "out").string(),
                                          "--heads",
                                          "1,4",
                                          "--seeds",
                                          "2",
                                          "--json"};
  const Answer first = call(words);
  ASSERT_EQ(first.status, 0) << first.complaint;
  const json::Value all = json::parse(first.out, "sweep");
  EXPECT_EQ(all["groups"].size(), 2U);
  EXPECT_EQ(all["runs"].size(), 4U);
  EXPECT_EQ(all["groups"][1]["heads"], 4);
  EXPECT_EQ(all["groups"][0]["parameters"], all["groups"][1]["parameters"]);
  EXPECT_NE(read_file(scratch / "out" / "sweep.svg").find("<svg"), std::string::npos);
  EXPECT_EQ(call(words).out, first.out);
  // A treebank whose sentences are all longer than the models' 32 positions: that is said.
  std::string trees;
  for (int n = 1; n <= 40; ++n)
    trees += std::to_string(n) + "\tthe\t_\tDET\t_\t_\t" + (n == 1 ? "0" : "1") + "\tdet\t_\t_\n";
  write_file(scratch / "long.conllu", std::string_view(trees + '\n'));
  std::vector<std::string> with_trees = words;
  with_trees.insert(with_trees.end(), {"--syntax", (scratch / "long.conllu").string()});
  const json::Value unread = json::parse(call(with_trees).out, "sweep");
  for (const auto& run : unread["runs"]) {
    EXPECT_EQ(run.at("syntax").at("sentences"), 0);
    EXPECT_EQ(run.at("syntax").at("skipped"), 1);
  }
  EXPECT_FALSE(all["runs"][0].contains("syntax"));
  std::erase(with_trees, "--json");
  with_trees.insert(with_trees.end(), {"--lang", "en"});
  EXPECT_NE(call(with_trees).out.find("syntax: 1 sentence in the treebanks, none"),
            std::string::npos);
  {
    const train::FolderHold hold(scratch / "out", "sweep");
    const Answer second = call(words);
    EXPECT_EQ(second.status, 4);
    EXPECT_NE(second.complaint.find("another headscope that"), std::string::npos)
        << second.complaint;
  }
  const Answer wrong = call({"sweep", words[1], "-o", words[3], "--heads", "3"});
  EXPECT_EQ(wrong.status, 2);
  EXPECT_NE(wrong.complaint.find("found 3"), std::string::npos);
  EXPECT_EQ(call({"sweep"}).status, 2);
}

}  // namespace
}  // namespace headscope::cli
