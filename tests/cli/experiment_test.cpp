// Experiments that verbs save: what is in the file, that replay finds the same, and what it refuses.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/app.h"
#include "cli/treebank.h"
#include "headscope/model.h"
#include "models/tiny_decoder.h"
#include "models/tiny_words.h"

namespace headscope::cli {
namespace {

using nlohmann::json;

struct Said {
  int status = 0;
  std::string out, complaint;
};

Said say_to(std::vector<std::string> arguments) {
  arguments.insert(arguments.end(), {"--lang", "en"});
  Said said;
  said.status = run(arguments, said.out, said.complaint);
  return said;
}

json done(const std::vector<std::string>& arguments) {
  const Said said = say_to(arguments);
  EXPECT_EQ(said.status, 0) << said.complaint;
  return json::parse(said.out);
}

const std::string& planted() {
  static const std::string path = std::string(HEADSCOPE_BINARY_DIR) + "/models/planted";
  return path;
}

const std::string kKing = "The old king gave the young prince a sharp sword";

json read(const std::string& file) { return json::parse(read_file(file)); }
void write(const std::string& file, const json& all) {
  write_file(file, std::string_view(all.dump()));
}

void expect_same(const std::string& file, std::size_t figures, const std::string& model = "") {
  std::vector<std::string> words{"doctor", "replay", file, "--json", "--within", "1e-5"};
  if (!model.empty()) words.insert(words.begin() + 3, model);
  const Said again = say_to(words);
  ASSERT_EQ(again.status, 0) << again.complaint << again.out;
  EXPECT_GE(json::parse(again.out).at("figures"), figures);
}

void expect_apart(const std::string& file, const std::string& where) {
  const Said again = say_to({"doctor", "replay", file, "--json"});
  ASSERT_EQ(again.status, 1) << again.complaint << again.out;
  EXPECT_EQ(json::parse(again.out).at("apart")[0].at("where"), where);
}

// ln of the share of `id` behind `ids`, by a whole run of them.
double log_share(const Model& model,
                 const std::vector<std::int32_t>& ids,
                 std::int32_t id,
                 const std::vector<Edit>& edits) {
  Tokens tokens;
  tokens.ids = Tensor(DType::kI32, {1, static_cast<std::int64_t>(ids.size())});
  std::copy(ids.begin(), ids.end(), tokens.ids.span<std::int32_t>().begin());
  RunOptions options;
  options.edits = edits;
  const headscope::Run ran = model.run(tokens, options);
  const auto row = ran.logits.span<float>().last(static_cast<std::size_t>(model.vocabulary()));
  double sum = 0.0;
  for (const float x : row) sum += std::exp(static_cast<double>(x));
  return static_cast<double>(row[static_cast<std::size_t>(id)]) - std::log(sum);
}

TEST(Experiment, AnAnswerIsSavedWithTheLogProbabilitiesOfItsTokens) {
  const test::TinyDecoder tiny;
  const std::string folder = test::with_words(tiny.folder(), 40);
  const Scratch scratch;
  const std::string saved = (scratch / "run.json").string();
  const std::string edits = (scratch / "edits.json").string();
  write(edits, json::parse(R"([{"layer": 0, "head": 1, "kind": "scale", "factor": 0.5}])"));
  const json said = done({"run",
                          folder,
                          "w3 w14 w15",
                          "-n",
                          "7",
                          "--temperature",
                          "1.3",
                          "--seed",
                          "5",
                          "--zero",
                          "1.2",
                          "--edits",
                          edits,
                          "--save",
                          saved,
                          "--json"});
  ASSERT_EQ(said.at("tokens").size(), 7U);
  const json all = read(saved);
  EXPECT_EQ(all.at("experiment"), "run");
  EXPECT_EQ(all.at("input"), "w3 w14 w15");
  EXPECT_EQ(all.at("edits"), json::parse(R"([{"layer": 1, "head": 2, "kind": "zero"},
                            {"layer": 0, "head": 1, "kind": "scale", "factor": 0.5}])"));
  EXPECT_EQ(all.at("figures").at("tokens"), said["tokens"]);
  // Against whole runs, at temperature 1 whatever the answer was drawn at.
  const Model model = Model::load(folder);
  Edit zero, half;
  zero.layer = 1, zero.head = 2;
  half.layer = 0, half.head = 1, half.kind = Edit::Kind::kScale, half.factor = 0.5F;
  std::vector<std::int32_t> ids = {3, 14, 15};
  for (const json& token : said["tokens"]) {
    const auto id = token.at("id").get<std::int32_t>();
    EXPECT_NEAR(token.at("logprob").get<double>(), log_share(model, ids, id, {zero, half}), 1e-4);
    ids.push_back(id);
  }
  // Elsewhere, without the file of edits.
  std::filesystem::remove(edits);
  std::filesystem::copy(folder, scratch / "elsewhere");
  expect_same(saved, 7 + 7 + 3, (scratch / "elsewhere").string());
  json changed = all;
  changed["figures"]["tokens"][2]["logprob"] = 1.0;
  write(saved, changed);
  expect_apart(saved, "tokens 2.logprob");
  changed = all;
  changed["figures"]["tokens"][2]["token"] = "a text that never was";
  write(saved, changed);
  expect_apart(saved, "tokens 2.token");
  EXPECT_NE(say_to({"doctor", "replay", saved}).out.find("was \"a text that never was\", is \""),
            std::string::npos);
  changed = all;
  changed["figures"]["tokens"].erase(6);
  write(saved, changed);
  expect_apart(saved, "tokens, how many");
  changed = all;
  changed["edits"] = json::array();  // the heads are on again
  write(saved, changed);
  EXPECT_EQ(say_to({"doctor", "replay", saved}).status, 1);
}

TEST(Experiment, WhatElseRunFindsIsSaved) {
  const test::TinyDecoder tiny;
  const std::string folder = test::with_words(tiny.folder(), 40);
  const Scratch scratch;
  const std::string saved = (scratch / "run.json").string();
  const std::string text = (scratch / "text.txt").string();
  write_file(text, std::string_view("w3 w4 w5 w6\n"));
  (void)done({"run", folder, text, "--perplexity", "--mean", "0.3", "--save", saved, "--json"});
  EXPECT_EQ(read(saved).at("input"), "w3 w4 w5 w6");
  std::filesystem::remove(text);
  expect_same(saved, 5);
  ASSERT_EQ(say_to({"run", planted(), kKing, "--zero", "0.6", "--save", saved}).status, 0);
  expect_same(saved, 768);
  json all = read(saved);
  all["edits"] = json::array();
  write(saved, all);
  EXPECT_EQ(say_to({"doctor", "replay", saved}).status, 1);
  // A text that is the name of a file or looks like an option is still that text.
  all["input"] = "--help";
  write(saved, all);
  const Said other = say_to({"doctor", "replay", saved});
  EXPECT_EQ(other.status, 1) << other.complaint;
}

TEST(Experiment, WhatHeadsDoAndWhatEditsChangedIsSaved) {
  const Scratch scratch;
  const std::string saved = (scratch / "see.json").string();
  const json said = done({"see", planted(), kKing, "--zero", "0.6", "--save", saved, "--json"});
  const json all = read(saved);
  EXPECT_EQ(all.at("input"), kKing);
  EXPECT_EQ(all.at("figures").at("changed"), said.at("changed"));
  EXPECT_LT(all["figures"]["changed"].at("embedding_cosine"), 0.9999);
  const json& heads = all["figures"].at("layers")[0].at("heads");
  ASSERT_EQ(heads.size(), 8U);
  for (std::size_t h = 0; h < 8; ++h) {
    EXPECT_EQ(heads[h].at("summary"), said["layers"][0]["heads"][h]["summary"]);
    EXPECT_FALSE(heads[h].contains("rows"));
  }
  expect_same(saved, 8 * 9);
  json changed = all;
  changed["figures"]["layers"][0]["heads"][3]["summary"]["entropy"] = 99;
  write(saved, changed);
  expect_apart(saved, "layers 0.heads 3.summary.entropy");
  changed = all;
  changed["edits"][0]["head"] = 5;
  write(saved, changed);
  EXPECT_EQ(say_to({"doctor", "replay", saved}).status, 1);
  // One head alone, and the screen says where it was written.
  const Said one =
      say_to({"see", planted(), kKing, "--head", "0.6", "--zero", "0.6", "--save", saved});
  ASSERT_EQ(one.status, 0) << one.complaint;
  EXPECT_NE(one.out.find("see.json"), std::string::npos);
  EXPECT_EQ(read(saved)["figures"]["layers"][0]["heads"].size(), 1U);
  expect_same(saved, 9);
}

TEST(Experiment, TheOrderInWhichHeadsGoIsSaved) {
  const test::TinyDecoder tiny;
  const std::string folder = test::with_words(tiny.folder(), 40);
  const Scratch scratch;
  const std::string saved = (scratch / "prune.json").string();
  const std::string data = (scratch / "text.txt").string();
  write_file(data, std::string_view("w3 w4 w5 w6 w3 w4 w9 w10 w11 w12 w3 w4\n"));
  const json said = done({"doctor",
                          "prune",
                          folder,
                          "--data",
                          data,
                          "--order",
                          "gradient",
                          "--by",
                          "mean",
                          "--save",
                          saved,
                          "--json"});
  std::filesystem::remove(data);
  const json all = read(saved);
  EXPECT_EQ(all.at("experiment"), "doctor prune");
  EXPECT_EQ(all.at("arguments"), json::array({"--by=mean", "--order=gradient", "--pieces=4"}));
  EXPECT_EQ(all.at("figures"), said);
  expect_same(saved, 8 * 4 + 9 * 2);
  // Heads are found by name: two that are worth as much may change places.
  json changed = all;
  std::reverse(changed["figures"]["order"].begin(), changed["figures"]["order"].end());
  write(saved, changed);
  expect_same(saved, 8 * 4 + 9 * 2);
  changed = all;
  json& third = changed["figures"]["order"][2];
  third["gradient"] = 99;
  write(saved, changed);
  expect_apart(saved, "order " + third["layer"].dump() + '.' + third["head"].dump() + ".gradient");
  changed = all;
  changed["arguments"].push_back("--results=" + (scratch / "x").string());
  write(saved, changed);
  EXPECT_NE(say_to({"doctor", "replay", saved}).complaint.find("found \"--results="),
            std::string::npos);
  // Of built-in sentences, and the screen says where it was written.
  const Said table = say_to({"doctor", "prune", planted(), "--save", saved});
  ASSERT_EQ(table.status, 0) << table.complaint;
  EXPECT_NE(table.out.find("prune.json"), std::string::npos);
  EXPECT_FALSE(read(saved).contains("data"));
  expect_same(saved, 8 * 4 + 9 * 2);
}

TEST(Experiment, APageAboutAHeadIsSavedWithItsTrees) {
  const Scratch scratch;
  const std::string saved = (scratch / "head.json").string();
  const std::string trees = (scratch / "trees.conllu").string();
  write_file(trees, testing::treebank(60));
  const json said = done({"head",
                          planted(),
                          "0.5",
                          "--data",
                          trees,
                          "--words",
                          "100",
                          "--top",
                          "3",
                          "--pieces",
                          "2",
                          "--save",
                          saved,
                          "--json"});
  std::filesystem::remove(trees);
  const json all = read(saved);
  EXPECT_EQ(all.at("arguments"),
            json::array({"--head=0.5", "--pieces=2", "--top=3", "--words=100"}));
  EXPECT_EQ(all.at("treebank"), testing::treebank(60));
  EXPECT_FALSE(all.contains("data"));
  EXPECT_EQ(all.at("figures"), said);
  EXPECT_EQ(said.at("scores").at("nsubj").at("n"), 60);
  expect_same(saved, 40);
  expect_same(saved, 40, planted());
  json changed = all;
  changed["figures"]["scores"]["nsubj"]["n"] = 1000000;
  write(saved, changed);
  expect_apart(saved, "scores.nsubj.n");
  changed = all;
  changed["arguments"][0] = "--head=0.4";
  write(saved, changed);
  EXPECT_EQ(say_to({"doctor", "replay", saved}).status, 1);
  // Without a file.
  const Said page = say_to({"head", planted(), "0.3", "--words", "100", "--save", saved});
  ASSERT_EQ(page.status, 0) << page.complaint;
  EXPECT_NE(page.out.find("head.json"), std::string::npos);
  EXPECT_FALSE(read(saved).contains("treebank") || read(saved).contains("data"));
  expect_same(saved, 40);
}

TEST(Experiment, WhatIsNoHeadIsNotTakenForOne) {
  const Scratch scratch;
  const std::string good = (scratch / "good.json").string(), bad = (scratch / "bad.json").string();
  ASSERT_EQ(say_to({"head", planted(), "0.3", "--words", "50", "--save", good}).status, 0);
  const json all = read(good);
  const std::vector<std::pair<json, const char*>> cases = {
      {json::array(), "expected one --head=3.5 of head, found 0"},
      {json::array({"--head=0.3", "--head=0.4"}), "found 2"},
      {json::array({"--head"}), "found \"--head\""},
      {json::array({"--head=--html=x"}), "expected --head=3.5"},
      {json::array({"--head=0.3 "}), "expected --head=3.5"},
      {json::array({"--head=.3"}), "expected --head=3.5"},
      {json::array({"--head=0.3", "--output=" + (scratch / "x.html").string()}), "\"--output="},
      {json::array({"--head=0.3", "--save=" + (scratch / "x.json").string()}), "\"--save="},
      {json::array({"--head=0.3", "--top=0"}), "--top"},
      {json::array({"--head=0.99"}), "0.99"},
      {json::array({"--head=99999999999999999999.0"}), "99999999999999999999"},
  };
  for (const auto& [arguments, part] : cases) {
    json changed = all;
    changed["arguments"] = arguments;
    write(bad, changed);
    const Said said = say_to({"doctor", "replay", bad});
    EXPECT_GT(said.status, 1) << part;
    EXPECT_NE(said.complaint.find(part), std::string::npos) << said.complaint << " / " << part;
    EXPECT_EQ(said.complaint.find('\n'), std::string::npos);
  }
  json changed = all;
  changed["treebank"] = "1\tThe\n";
  write(bad, changed);
  EXPECT_NE(say_to({"doctor", "replay", bad}).complaint.find("ten columns"), std::string::npos);
  EXPECT_EQ(scratch.files(), 2);
}

TEST(Experiment, ABadFileIsRefusedInOneLine) {
  const test::TinyDecoder tiny;
  const std::string folder = test::with_words(tiny.folder(), 40);
  const Scratch scratch;
  const std::string good = (scratch / "good.json").string(), bad = (scratch / "bad.json").string();
  ASSERT_EQ(say_to({"see", planted(), "king", "--zero", "0.2", "--save", good}).status, 0);
  const std::string whole = read_file(good);
  const auto with = [&](const char* key, const json& value) {
    json all = json::parse(whole);
    if (value.is_null())
      all.erase(key);
    else
      all[key] = value;
    return all.dump();
  };
  const json far = json::parse(R"([{"layer": 7, "head": 1, "kind": "zero"}])");
  const json twice = json::parse(
      R"([{"layer": 0, "head": 1, "kind": "zero"}, {"layer": 0, "head": 1, "kind": "mean"}])");
  const std::vector<std::pair<std::string, const char*>> cases = {
      {whole.substr(0, whole.size() / 2), "[bad.json]"},
      {"", "[bad.json]"},
      {"[]", "[bad.json]"},
      {with("experiment", "walk"), "found \"walk\""},
      {with("weights", "1 bytes, crc32 00000000"), "--any-weights"},
      {with("input", nullptr), "\"input\""},
      {with("input", 3), "\"input\""},
      {with("edits", nullptr), "\"edits\""},
      {with("edits", "0.6"), "list of edits"},
      {with("edits", far), "found head 7.1"},
      {with("edits", twice), "0.1"},
      {with("figures", nullptr), "\"figures\""},
      {with("figures", json::array()), "found none"},
      {with("arguments", json::array({"--html=" + (scratch / "page.html").string()})),
       "found \"--html="},
      {with("arguments", json::array({"--layer", "0"})), "found \"0\""},
      {with("arguments", json::array({"--layer=9"})), "9"},
      {with("model", "no-such-model"), "no-such-model"},
  };
  for (const auto& [text, part] : cases) {
    write_file(bad, std::string_view(text));
    const Said said = say_to({"doctor", "replay", bad});
    EXPECT_GT(said.status, 1) << part;
    EXPECT_NE(said.complaint.find(part), std::string::npos) << said.complaint << " / " << part;
    EXPECT_EQ(said.complaint.find('\n'), std::string::npos);
    EXPECT_EQ(said.out, "");
  }
  EXPECT_EQ(scratch.files(), 2);
  // Other weights, when that is wanted: the text is unknown to the other model, and figures differ.
  EXPECT_NE(say_to({"doctor", "replay", good, folder}).complaint.find("--any-weights"),
            std::string::npos);
  const Said said = say_to({"doctor", "replay", good, folder, "--any-weights"});
  EXPECT_EQ(said.status, 1) << said.complaint;
  EXPECT_NE(said.out.find("other weights than then"), std::string::npos);
}

TEST(Experiment, WhatIsNoTextIsNotSaved) {
  const Scratch scratch;
  const std::string saved = (scratch / "x.json").string();
  const std::vector<std::pair<std::vector<std::string>, const char*>> cases = {
      {{"run", planted(), "--chat", "--save", saved}, "--save --chat"},
      {{"run", planted(), "king", "--save", scratch.path().string()}, "folder"},
      {{"see", planted(), "king", "--save", (scratch / "no" / "x.json").string()}, "x.json"},
      {{"see", planted(), "king", "--as", "bytes", "--save", saved}, "found --as bytes"},
      {{"run", planted(), "king", "--zero", "0.9", "--save", saved}, "found head 0.9"},
  };
  for (const auto& [arguments, part] : cases) {
    const Said said = say_to(arguments);
    EXPECT_GT(said.status, 1) << part;
    EXPECT_NE(said.complaint.find(part), std::string::npos) << said.complaint << " / " << part;
    EXPECT_FALSE(std::filesystem::exists(saved));
  }
}

}  // namespace
}  // namespace headscope::cli
