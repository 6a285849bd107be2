// `headscope doctor` over the planted council: what it says, and how it refuses.
#include "cli/doctor.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "cli/app.h"
#include "cli/token_words.h"
#include "cli/treebank.h"
#include "formats/scratch.h"
#include "headscope/safetensors.h"

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

const std::string& planted() {
  static const std::string path = std::string(HEADSCOPE_BINARY_DIR) + "/models/planted";
  return path;
}

TEST(Doctor, RolesNamesWhatTheCouncilWasMadeFor) {
  const Said said = say_to({"doctor", "roles", planted(), "--json"});
  ASSERT_EQ(said.status, 0) << said.complaint;
  const json all = json::parse(said.out);
  ASSERT_EQ(all.at("heads").size(), 8U);
  const auto has = [&](std::size_t head, const char* label) {
    const json& labels = all["heads"][head]["labels"];
    return std::find(labels.begin(), labels.end(), label) != labels.end();
  };
  const std::vector<const char*> made = {"previous", "next", "first", "self", "duplicate"};
  for (std::size_t m = 0; m < made.size(); ++m) {
    for (std::size_t h = 0; h < 8; ++h) EXPECT_EQ(has(h, made[m]), h == m) << made[m] << " " << h;
  }
  EXPECT_GT(all["heads"][0]["scores"]["previous"]["n"], 10);
}

TEST(Doctor, RolesPageHoldsEveryHead) {
  const Scratch scratch;
  const std::string page = (scratch / "roles.html").string();
  const Said said = say_to({"doctor", "roles", planted(), "--html", page});
  ASSERT_EQ(said.status, 0) << said.complaint;
  EXPECT_NE(said.out.find("the token before"), said.out.npos);
  const std::string html = read_file(page);
  for (int h = 0; h < 8; ++h)
    EXPECT_NE(html.find("data-h=\"0." + std::to_string(h) + '"'), html.npos) << h;
  EXPECT_EQ(html.find("http"), html.npos);  // nothing is fetched
}

TEST(Doctor, RolesOfATreebankAlsoFollowItsTrees) {
  const Scratch scratch;
  const std::string trees = (scratch / "trees.conllu").string();
  std::ofstream(trees) << testing::treebank(60);
  const std::string page = (scratch / "roles.html").string();
  const Said said =
      say_to({"doctor", "roles", planted(), "--data", trees, "--html", page, "--json"});
  ASSERT_EQ(said.status, 0) << said.complaint;
  const json all = json::parse(said.out);
  const json& action = all["heads"][5];  // looks at the verb
  EXPECT_EQ(action["scores"]["nsubj"]["n"], 60);
  EXPECT_EQ(action["scores"]["amod"]["n"], 120);
  EXPECT_EQ(action["scores"]["obj"]["baseline"], 1.0);  // always three words before
  EXPECT_GT(action["scores"]["obj"]["score"], 0.9);
  for (const json& head : all["heads"]) {
    for (const json& label : head["labels"])
      EXPECT_TRUE(label != "nsubj" && label != "obj") << "no better than a fixed distance";
  }
  EXPECT_NE(read_file(page).find("amod, to its head"), std::string::npos);
  const Said table = say_to({"doctor", "roles", planted(), "--data", trees});
  EXPECT_NE(table.out.find("nsubj, to its head"), table.out.npos);
  EXPECT_NE(table.out.find("60 sentences, 0 skipped"), table.out.npos);
  std::ofstream(trees) << "1\tThe\n";
  const Said broken = say_to({"doctor", "roles", planted(), "--data", trees});
  EXPECT_NE(broken.status, 0);
  EXPECT_NE(broken.complaint.find("trees.conllu"), broken.complaint.npos) << broken.complaint;
}

TEST(Doctor, ARankThatWasInterruptedGoesOnFromItsResults) {
  const Scratch scratch;
  const std::string data = (scratch / "data.txt").string();
  const std::string results = (scratch / "results").string();
  std::ofstream text(data);
  for (int n = 0; n < 60; ++n) text << "The old king gave the young prince a sharp sword.\n";
  text.close();
  const auto ranked = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"doctor", "rank", planted(), "--data", data, "--json"});
    const Said said = say_to(more);
    EXPECT_EQ(said.status, 0) << said.complaint;
    json all = json::parse(said.out);
    for (const char* key : {"seconds", "gradient_seconds"}) all.erase(key);
    return all;
  };
  const json plain = ranked({});
  EXPECT_EQ(ranked({"--results", results}), plain);
  const std::string whole = read_file(results);
  EXPECT_EQ(std::count(whole.begin(), whole.end(), '\n'), 4);  // what it is of, and three pieces
  EXPECT_EQ(ranked({"--results", results}), plain);
  EXPECT_EQ(read_file(results), whole);
  // Stopped in the middle of a line.
  std::ofstream(results, std::ios::binary) << whole.substr(0, whole.size() - 30);
  EXPECT_EQ(ranked({"--results", results}), plain);
  const Said other =
      say_to({"doctor", "rank", planted(), "--data", data, "--pieces", "1", "--results", results});
  EXPECT_EQ(other.status, 2);
  EXPECT_NE(other.complaint.find("expected"), other.complaint.npos) << other.complaint;
  std::ofstream(results) << "";  // as mktemp makes one
  EXPECT_EQ(ranked({"--results", results}), plain);
  EXPECT_EQ(read_file(results), whole);
  const std::string precious = "{\"precious\": 1}";  // without an end of line
  std::ofstream(results) << precious;
  EXPECT_NE(say_to({"doctor", "rank", planted(), "--data", data, "--results", results}).status, 0);
  EXPECT_EQ(read_file(results), precious);
  std::ofstream(results) << "no results\n";
  EXPECT_NE(say_to({"doctor", "rank", planted(), "--data", data, "--results", results}).status, 0);
}

TEST(Doctor, RankOfAnEmbeddingNamesHeadsThatMoveIt) {
  const Scratch scratch;
  const std::string data = (scratch / "data.txt").string();
  std::ofstream(data) << "The old king gave the young prince a sharp sword.\n";
  const Said said = say_to({"doctor", "rank", planted(), "--data", data, "--json"});
  ASSERT_EQ(said.status, 0) << said.complaint;
  const json all = json::parse(said.out);
  EXPECT_EQ(all.at("judged_by"), "embedding_cosine");
  ASSERT_EQ(all.at("heads").size(), 8U);
  for (const json& head : all["heads"]) EXPECT_GE(head.at("zero").get<double>(), -1e-6);
}

TEST(Doctor, AnExperimentIsRepeatedAndComparedFigureByFigure) {
  const Scratch scratch;
  const std::string text = (scratch / "text.txt").string(),
                    saved = (scratch / "saved.json").string();
  write_file(text, std::string_view("The old king gave the young prince a sharp sword."));
  const Said rank =
      say_to({"doctor", "rank", planted(), "--data", text, "--save", saved, "--json"});
  ASSERT_EQ(rank.status, 0) << rank.complaint;
  // The council foretells no tokens: no gradients, and the reason.
  EXPECT_NE(json::parse(rank.out).at("no_gradients").get<std::string>().find("next token"),
            std::string::npos);
  std::filesystem::remove(text);  // the experiment brings its own
  const Said again = say_to({"doctor", "replay", saved, "--json"});
  ASSERT_EQ(again.status, 0) << again.complaint << again.out;
  EXPECT_GT(json::parse(again.out).at("figures"), 16);
  EXPECT_TRUE(json::parse(again.out).at("same_weights"));
  json changed = json::parse(read_file(saved));
  changed["figures"]["heads"][3]["zero"] = changed["figures"]["heads"][3]["zero"].get<double>() + 1;
  write_file(saved, std::string_view(changed.dump()));
  const Said apart = say_to({"doctor", "replay", saved, "--json"});
  EXPECT_EQ(apart.status, 1);
  ASSERT_EQ(json::parse(apart.out).at("apart").size(), 1U);
  EXPECT_EQ(json::parse(apart.out)["apart"][0]["where"], "heads 0.3.zero");
  changed["experiment"] = "walk";
  write_file(saved, std::string_view(changed.dump()));
  EXPECT_NE(say_to({"doctor", "replay", saved}).complaint.find("found \"walk\""),
            std::string::npos);
}

TEST(Head, OnePageSaysWhatTheHeadDoes) {
  const Scratch scratch;
  const std::string page = (scratch / "head.html").string();
  const Said said = say_to({"head", planted(), "0.0", "-o", page, "--top", "4"});
  ASSERT_EQ(said.status, 0) << said.complaint;
  EXPECT_NE(said.out.find("the token before"), said.out.npos);
  EXPECT_NE(said.out.find("what it seeks"), said.out.npos);
  const std::string html = read_file(page);
  EXPECT_NE(html.find("<mark class=\"key\">"), html.npos);
  const json all = json::parse(say_to({"head", planted(), "0.0", "--json"}).out);
  EXPECT_EQ(all.at("labels")[0], "previous");
  EXPECT_GT(all.at("links").size(), 3U);
  EXPECT_GT(all["links"][0]["weight"], 0.9);
  EXPECT_TRUE(all.at("zero").contains("mean"));
}

TEST(Head, ShowsBaselinesUnitsAndReasons) {
  const Scratch scratch;
  const std::string page = (scratch / "head.html").string();
  const Said said = say_to({"head", planted(), "0.3", "-o", page});
  ASSERT_EQ(said.status, 0) << said.complaint;
  const std::string html = read_file(page);
  for (const std::string& shown : {said.out, html}) {
    EXPECT_EQ(shown.find("evenly spread 0,"), shown.npos) << shown;
    EXPECT_NE(shown.find("1 - cosine of the embedding"), shown.npos) << shown;
    EXPECT_NE(shown.find("no logits of words"), shown.npos) << shown;
    EXPECT_EQ(shown.find("rotary"), shown.npos) << shown;
    EXPECT_EQ(shown.find("writing:"), shown.npos) << shown;
  }
  const json all = json::parse(say_to({"head", planted(), "0.3", "--json"}).out);
  EXPECT_EQ(all.at("judged_by"), "embedding_cosine");
  EXPECT_TRUE(all.at("writes").empty());
  EXPECT_NE(all.at("no_writes").get<std::string>().find("no logits of words"), std::string::npos);
  for (const char* name : {"position", "entropy", "confidence", "distance"})
    EXPECT_FALSE(all.at("scores").at(name).contains("baseline")) << name;
  EXPECT_GT(all["scores"]["self"].at("baseline"), 0.0);
  double before = 1e30;
  std::set<std::int64_t> from, to;
  for (const json& pair : all.at("seeks")) {
    EXPECT_LE(pair.at("score").get<double>(), before);
    before = pair["score"].get<double>();
    EXPECT_TRUE(from.insert(pair.at("from_id").get<std::int64_t>()).second);
    EXPECT_TRUE(to.insert(pair.at("to_id").get<std::int64_t>()).second);
  }
  EXPECT_EQ(all["seeks"].size(), 12U);
}

TEST(Head, SaysFirstWhatTheModelsFilesSayOfIt) {
  const std::string tale = HEADSCOPE_SOURCE_DIR "/models/tale";
  const Scratch scratch;
  const std::string page = (scratch / "head.html").string();
  std::string head;
  for (const json& role : json::parse(read_file(tale + "/roles.json"))) {
    if (role.at("en") == "subject to its verb")
      head = fmt::format("{}.{}", role["layer"].get<int>(), role["head"].get<int>());
  }
  ASSERT_FALSE(head.empty());
  const Said said = say_to({"head", tale, head, "--words", "300", "-o", page});
  ASSERT_EQ(said.status, 0) << said.complaint;
  const std::size_t known = said.out.find("subject to its verb");
  ASSERT_NE(known, said.out.npos) << said.out;
  EXPECT_LT(known, said.out.find("what it does on"));
  EXPECT_EQ(said.out.find("nothing stands out"), said.out.npos);
  EXPECT_NE(said.out.find("not linear"), said.out.npos);
  EXPECT_NE(said.out.find("rotary"), said.out.npos);
  EXPECT_NE(read_file(page).find("subject to its verb"), std::string::npos);
  const json all = json::parse(say_to({"head", tale, head, "--words", "300", "--json"}).out);
  ASSERT_FALSE(all.at("roles").empty());
  for (const json& role : all["roles"]) {
    EXPECT_GT(role.at("score"), role.at("baseline"));
    EXPECT_GE(role.at("n"), 50);
    EXPECT_FALSE(role.at("source").get<std::string>().empty());
  }
}

TEST(Head, OfATreebankAlsoFollowsItsTrees) {
  const Scratch scratch;
  const std::string trees = (scratch / "trees.conllu").string();
  std::ofstream(trees) << testing::treebank(60);
  const std::string page = (scratch / "head.html").string();
  const std::vector<std::string> asked = {
      "head", planted(), "0.5", "--data", trees, "--words", "100"};
  std::vector<std::string> as_page = asked, as_json = asked;
  as_page.insert(as_page.end(), {"-o", page});
  as_json.emplace_back("--json");
  const json all = json::parse(say_to(as_json).out);
  const json roles =
      json::parse(say_to({"doctor", "roles", planted(), "--data", trees, "--json"}).out);
  for (const char* relation : {"nsubj", "amod back", "obj"})
    EXPECT_EQ(all.at("scores").at(relation), roles["heads"][5]["scores"].at(relation)) << relation;
  const Said said = say_to(as_page);
  EXPECT_NE(said.out.find("along the edges of trees"), said.out.npos) << said.out;
  EXPECT_NE(said.out.find("60 sentences, 0 skipped"), said.out.npos);
  EXPECT_NE(read_file(page).find("nsubj, to its head"), std::string::npos);
}

TEST(Head, WordsOfTokensCanBeToldApart) {
  EXPECT_EQ(visible(" his"), "␣his");
  EXPECT_EQ(visible("his"), "his");
  EXPECT_EQ(visible("\xE2\x80"), "<0xE2><0x80>");
  EXPECT_EQ(visible(" \xF0"), "␣<0xF0>");
  EXPECT_EQ(visible("\n"), "<0x0A>");
  EXPECT_EQ(visible("\u200F"), "<U+200F>");
  EXPECT_EQ(visible("меч"), "меч");
  EXPECT_EQ(visible("<0xE2>"), "<0xE2>");
  // A byte-level vocabulary: a space is U+0120, the byte 0xE2 is U+00E2.
  const Tokenizer bytes = Tokenizer::parse(
      R"({"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
          "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},
          "post_processor":null,
          "decoder":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},
          "model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,
                   "end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,
                   "vocab":{"a":0,"\u0120":1,"\u0120a":2,"\u00e2":3,"\u0120\u00e2":4},
                   "merges":["\u0120 a","\u0120 \u00e2"]}})",
      "bytes");
  const std::vector<std::string> want = {"a", "␣", "␣a", "<0xE2>", "␣<0xE2>"};
  for (std::size_t id = 0; id < want.size(); ++id)
    EXPECT_EQ(visible(token_bytes(bytes, static_cast<std::int32_t>(id))), want[id]);
}

TEST(Doctor, CheckNamesTheHeadThatWasExchangedForNoise) {
  const Said same = say_to({"doctor", "check", planted(), "--against", planted(), "--json"});
  ASSERT_EQ(same.status, 0) << same.complaint;
  EXPECT_TRUE(json::parse(same.out).at("ranking").empty());
  // The council with head 5's queries in disorder.
  const Scratch scratch;
  std::filesystem::copy(planted(), scratch / "broken");
  const Safetensors file = Safetensors::open(planted() + "/model.safetensors");
  std::map<std::string, AnyView, std::less<>> views;
  for (const auto& [name, view] : file.tensors()) views.emplace(name, view);
  const std::string name = "encoder.layer.0.attention.self.query.weight";
  Tensor query = Tensor::copy_of(views.at(name));
  auto rows = query.span<f16>();
  std::reverse(rows.begin() + 5 * 96 * 768, rows.begin() + 6 * 96 * 768);
  views[name] = query.any();
  std::filesystem::remove(scratch / "broken" / "model.safetensors");
  write_safetensors(scratch / "broken" / "model.safetensors", views);
  const Said said =
      say_to({"doctor", "check", (scratch / "broken").string(), "--against", planted(), "--json"});
  ASSERT_EQ(said.status, 0) << said.complaint;
  const json found = json::parse(said.out);
  ASSERT_FALSE(found.at("ranking").empty());
  EXPECT_EQ(found["ranking"][0]["layer"], 0);
  EXPECT_EQ(found["ranking"][0]["head"], 5);
  EXPECT_EQ(found["ranking"][0]["reason"], "looks_elsewhere");
  EXPECT_GT(found["ranking"][0]["score"], 0.99);
  EXPECT_EQ(found["ranking"].size(), 1U);
  const Said table =
      say_to({"doctor", "check", (scratch / "broken").string(), "--against", planted()});
  EXPECT_NE(table.out.find("0.5"), table.out.npos);
}

TEST(Doctor, PruneWritesAModelThatLoads) {
  const Scratch scratch;
  const std::string out = (scratch / "smaller").string();
  const Said said =
      say_to({"doctor", "prune", planted(), "-o", out, "--heads", "5", "--by", "mean", "--json"});
  ASSERT_EQ(said.status, 0) << said.complaint;
  const json all = json::parse(said.out);
  EXPECT_EQ(all.at("gone"), 3);
  EXPECT_EQ(all.at("order").size(), 8U);
  EXPECT_EQ(scratch.files(), 1);  // nothing half written lies beside it
  const Said again = say_to({"doctor", "roles", out, "--json"});
  EXPECT_EQ(again.status, 0) << again.complaint;
}

TEST(Doctor, PruneShrinksTheFile) {
  const Scratch scratch;
  const std::string out = (scratch / "smaller").string();
  const std::vector<std::string> wish = {
      "doctor", "prune", planted(), "-o", out, "--heads", "5", "--shrink", "--json"};
  const Said said = say_to(wish);
  ASSERT_EQ(said.status, 0) << said.complaint;
  const json all = json::parse(said.out);
  EXPECT_EQ(all.at("left_the_file"), 3);
  EXPECT_LT(all.at("numbers"), all.at("numbers_before"));
  const Said seen = say_to({"see", out, "The old king gave the sword"});
  EXPECT_NE(seen.out.find("1 layer x 5 heads"), std::string::npos) << seen.complaint << seen.out;
  EXPECT_LT(std::filesystem::file_size(scratch / "smaller" / "model.safetensors"),
            std::filesystem::file_size(std::filesystem::path(planted()) / "model.safetensors"));
  const Said nowhere = say_to({"doctor", "prune", planted(), "--shrink"});
  EXPECT_NE(nowhere.complaint.find("expected -o, found none"), std::string::npos);
}

TEST(Doctor, PiecesAreCountedAsEitherLanguageDoes) {
  Corpus corpus;
  corpus.name = "a.txt";
  corpus.all = 41;
  corpus.pieces.resize(1);
  EXPECT_EQ(corpus.about(Lang::kEn), "a.txt, the first 1 piece of 41");
  EXPECT_EQ(corpus.about(Lang::kRu), "a.txt, с начала 1 отрывок из 41");
  corpus.pieces.resize(32);
  EXPECT_EQ(corpus.about(Lang::kEn), "a.txt, the first 32 pieces of 41");
  EXPECT_EQ(corpus.about(Lang::kRu), "a.txt, с начала 32 отрывка из 41");
  corpus.pieces.resize(41);
  EXPECT_EQ(corpus.about(Lang::kRu), "a.txt");
}

TEST(Doctor, AFolderThatIsNotKeptIsGone) {
  const Scratch scratch;
  for (const bool keep : {false, true}) {
    const std::string path = (scratch / "made").string();
    try {
      std::filesystem::create_directories(path);
      MadeFolder made(path);
      if (keep) made.keep();
      throw Error(ErrorCode::kInput, "[heal] interrupted");
    } catch (const Error&) {
      EXPECT_EQ(std::filesystem::exists(path), keep);
    }
  }
}

TEST(Doctor, PruneWritesTheFileThatWasNamed) {
  const Scratch scratch;
  const std::filesystem::path two = scratch / "two";
  std::filesystem::copy(planted(), two);
  std::filesystem::copy(two / "model.safetensors", two / "other.safetensors");
  const Safetensors file = Safetensors::open(two / "other.safetensors");
  const std::string name = "encoder.layer.0.attention.self.query.weight";
  {  // What lies there under the usual name is another model.
    std::map<std::string, AnyView, std::less<>> views(file.tensors().begin(), file.tensors().end());
    Tensor query = Tensor::copy_of(views.at(name));
    std::fill(query.span<f16>().begin(), query.span<f16>().end(), to_f16(0.0F));
    views[name] = query.any();
    std::filesystem::remove(two / "model.safetensors");
    write_safetensors(two / "model.safetensors", views);
  }
  // The new folder lies within the old one, and its name ends in a slash.
  const std::string out = (two / "smaller").string();
  const Said said = say_to({"doctor",
                            "prune",
                            (two / "other.safetensors").string(),
                            "-o",
                            out + '/',
                            "--heads",
                            "8",
                            "--json"});
  ASSERT_EQ(said.status, 0) << said.complaint;
  EXPECT_EQ(json::parse(said.out).at("judged_by"), "embedding_cosine");
  const Safetensors written = Safetensors::open(out);
  const Tensor was = Tensor::copy_of(file.at(name)), is = Tensor::copy_of(written.at(name));
  EXPECT_TRUE(std::equal(was.raw(), was.raw() + was.bytes(), is.raw(), is.raw() + is.bytes()));
  // A text that cannot heal is found before anything is written.
  write_file(scratch / "text", std::string_view("The king."));
  const std::string healed = (scratch / "healed").string();
  EXPECT_NE(say_to({"doctor",
                    "prune",
                    planted(),
                    "-o",
                    healed,
                    "--heads",
                    "5",
                    "--heal",
                    (scratch / "text").string()})
                .complaint.find("next token"),
            std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(healed));
}

TEST(Doctor, RefusesInOneLine) {
  const std::vector<std::pair<std::vector<std::string>, const char*>> cases = {
      {{"doctor"}, "[doctor] expected roles"},
      {{"doctor", "heal"}, "found heal"},
      {{"doctor", "roles"}, "[doctor roles] expected one model, found 0"},
      {{"doctor", "roles", "a", "b"}, "found 2"},
      {{"doctor", "roles", planted(), "--pieces", "0"}, "--pieces"},
      {{"doctor", "roles", planted(), "--data", "no-such-file.txt"}, "no-such-file.txt"},
      {{"doctor", "rank", planted()}, "--prompt | --data"},
      {{"doctor", "rank", planted(), "--right", "x"}, "--prompt"},
      {{"doctor",
        "rank",
        planted(),
        "--prompt",
        "king",
        "--right",
        "king",
        "--wrong",
        "unheardofword thing"},
       "--wrong to be one token"},
      {{"doctor", "rank", planted(), "--prompt", "king", "--right", "king", "--wrong", "prince"},
       "foretells the next token"},
      {{"doctor",
        "rank",
        planted(),
        "--prompt",
        "king",
        "--right",
        "unheardofword",
        "--wrong",
        "king"},
       "its vocabulary does not know"},
      {{"doctor", "rank", planted(), "--prompt", "king", "--right", "king", "--wrong", "king"},
       "found king twice"},
      {{"doctor", "rank", planted(), "--prompt", "king", "--data", "x"}, "found both"},
      {{"doctor", "rank", planted(), "--prompt", "king", "--results", "x"}, "--data"},
      {{"doctor", "replay", "x.json", "--within", "-1"}, "--within"},
      {{"doctor", "patch", planted(), "--clean", "king"}, "--corrupt"},
      {{"doctor", "regroup", planted(), "-o", "out"}, "--groups"},
      {{"doctor", "regroup", planted(), "--groups", "4", "-o", planted()}, "not there yet"},
      {{"doctor", "regroup", planted(), "--groups", "4", "-o", "out"}, "next token"},
      {{"doctor", "regroup", planted(), "--groups", "4", "--by", "x", "-o", "out"},
       "fitted | mean"},
      {{"doctor", "replay"}, "saved experiment"},
      {{"doctor", "replay", "no-such-file.json"}, "no-such-file.json"},
      {{"head", planted()}, "a head such as 3.5, found 1 word;"},
      {{"head", planted(), "0.8"}, "0.8"},
      {{"head", planted(), "0.1", "--top", "0"}, "--top"},
      {{"head", planted(), "0.1", "-o", "x.pdf"}, "FILE.html, found x.pdf"},
      {{"head", HEADSCOPE_SOURCE_DIR "/models/glimpse", "0.0"}, "one stack of layers over words"},
      {{"doctor", "roles", HEADSCOPE_SOURCE_DIR "/models/glimpse"},
       "[doctor roles] expected a model that reads text, found glimpse, which reads pictures"},
      {{"head", HEADSCOPE_SOURCE_DIR "/models/series", "0.0"}, "one stack of layers over words"},
      {{"doctor",
        "patch",
        planted(),
        "--clean",
        "king",
        "--corrupt",
        "the king",
        "--right",
        "king",
        "--wrong",
        "prince"},
       "they part at token 1"},
      {{"doctor", "patch", planted(), "--by", "query"}, "--"},
      {{"doctor", "check", planted(), "--top", "x"}, "--top"},
      {{"doctor", "prune", planted(), "-o", "out"}, "one of --heads, --share and --loss, found 0"},
      {{"doctor", "prune", planted(), "--heads", "1", "--loss", "1"}, "found 2"},
      {{"doctor", "prune", planted(), "--heads", "9", "-o", "out"}, "from 0 to 8"},
      {{"doctor", "prune", planted(), "--heads", "4"}, "expected -o, found none"},
      {{"doctor", "prune", planted(), "--heads", "4", "-o", "/proc/x/y"}, "/proc/x/y"},
      {{"doctor", "prune", planted(), "--share", "2"}, "--share"},
      {{"doctor", "prune", planted(), "--order", "x"}, "harm | gradient | gates"},
      {{"doctor", "prune", planted(), "--order", "gates"}, "foretells the next token"},
      {{"doctor", "prune", planted(), "--heads", "4", "-o", planted()}, "not there yet"},
      {{"doctor", "prune", planted(), "--heads", "4", "-o", "out", "--save", "x.json"},
       "expected --save or -o, found both"},
      {{"doctor", "prune", planted(), "--save", planted()}, "folder"},
      {{"head", planted(), "0.1", "--save", planted()}, "folder"},
  };
  for (const auto& [arguments, part] : cases) {
    const Said said = say_to(arguments);
    EXPECT_NE(said.status, 0) << arguments.back();
    EXPECT_NE(said.complaint.find(part), said.complaint.npos) << said.complaint;
    EXPECT_EQ(said.complaint.find('\n'), said.complaint.npos);
    EXPECT_EQ(said.out, "");
  }
}

TEST(Doctor, HelpIsThereInBothLanguagesAndFits) {
  for (const char* verb : {"", "roles", "rank", "patch", "check", "prune", "regroup", "replay"}) {
    for (const char* lang : {"en", "ru"}) {
      std::vector<std::string> arguments{"doctor"};
      if (*verb != '\0') arguments.emplace_back(verb);
      arguments.insert(arguments.end(), {"--help", "--lang", lang});
      Said said;
      EXPECT_EQ(run(arguments, said.out, said.complaint), 0) << said.complaint;
      EXPECT_NE(said.out.find("\n  headscope doctor "), said.out.npos) << verb;
      for (std::size_t at = 0; at < said.out.size();) {
        const std::size_t end = said.out.find('\n', at);
        EXPECT_LE(columns(said.out.substr(at, end - at)), 80) << said.out.substr(at, end - at);
        at = end + 1;
      }
    }
  }
}

}  // namespace
}  // namespace headscope::cli
