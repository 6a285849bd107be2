#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/app.h"
#include "cli/edits.h"
#include "formats/files.h"
#include "formats/scratch.h"
#include "golden/golden.h"
#include "models/tiny_decoder.h"

namespace headscope::cli {
namespace {

struct Outcome {
  int status = 0;
  std::string out, complaint;
};

Outcome call(std::vector<std::string> words) {
  words.insert(words.begin(), "run");
  Outcome outcome;
  outcome.status = run(words, outcome.out, outcome.complaint);
  return outcome;
}

TEST(Run, WrongWordsGiveOneLineThatSaysWhatWasExpected) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{}, "expected a model and a text"},
      {{"planted"}, "expected a model and a text"},
      {{"planted", "king", "--temperature", "-1"}, "temperature"},
      {{"planted", "king", "--top-p", "2"}, "top_p"},
      {{"planted", "king", "--zero", "x"}, "--zero"},
      {{"planted", "king", "--tokens", "many"}, "-n a whole number from 0"},
      {{"planted", "king", "-n", "-3"}, "-n a whole number from 0"},
      {{"planted", "king", "--zero", "0.99"}, "found head 0.99"},
      {{"planted", "king", "--edits", "no-such-file.json"}, "no-such-file.json"},
      {{"planted", "king", "--chat"}, "goes on from a text"},
      {{"no-such-model", "king"}, "no-such-model"},
      {{"plantde", "king"}, "did you mean planted?"},
      {{"plantde", "король", "--lang", "ru"}, "ожидалась папка, файл или встроенная модель"},
      {{"planted", "none.conllu"}, "headscope run MODEL -"},
      {{"planted", ""}, "[run] expected a text with at least one token"},
      {{"planted", "", "--lang", "ru"}, "он пуст"},
  };
  for (const auto& [words, part] : cases) {
    const Outcome outcome = call(words);
    EXPECT_NE(outcome.status, 0) << part;
    EXPECT_NE(outcome.complaint.find(part), std::string::npos) << outcome.complaint;
    EXPECT_EQ(outcome.complaint.find('\n'), std::string::npos);
    EXPECT_TRUE(outcome.out.empty()) << outcome.out;
  }
}

TEST(Run, EditsOfAFileAreThoseThatItLists) {
  const Scratch scratch;
  const auto write = [&](const std::string& text) {
    files::AtomicFile file(scratch / "edits.json");
    file.append(text);
    file.commit();
    return (scratch / "edits.json").string();
  };
  const auto edits = read_edits(write(
      R"({"edits": [{"layer": 5, "head": 3, "kind": "zero"}, {"layer": 1, "head": 2, "kind": "scale", "factor": 0.5},
                    {"layer": 0, "head": 0, "kind": "mean"}]})"));
  ASSERT_EQ(edits.size(), 3U);
  EXPECT_EQ(edits[0].layer, 5);
  EXPECT_EQ(edits[0].kind, Edit::Kind::kZero);
  EXPECT_EQ(edits[1].kind, Edit::Kind::kScale);
  EXPECT_EQ(edits[1].factor, 0.5F);
  EXPECT_EQ(edits[2].kind, Edit::Kind::kMean);
  EXPECT_EQ(read_edits(write("[]")).size(), 0U);
  const auto none = read_edits(write(R"([{"layer": 1, "head": 0, "kind": "scale", "factor": 0},
          {"layer": 1, "head": 1, "kind": "zero", "factor": 0.0}])"));
  EXPECT_EQ(none[0].factor, 0.0F);
  EXPECT_EQ(none[1].kind, Edit::Kind::kZero);
  for (const char* bad : {"{}",
                          "3",
                          R"([{"layer": 1}])",
                          R"([{"layer": 1, "head": 0}])",
                          R"([{"layer": 1, "head": 0, "kind": "zero", "heads": 2}])",
                          R"([{"layer": 1, "head": 0, "kind": "zero", "factor": 2}])",
                          R"([{"layer": 1, "head": 0, "kind": "mean", "factor": 0}])",
                          R"([{"layer": 1, "head": 0, "kind": "scale", "factor": 1e99}])",
                          R"({"edits": [], "zero": [1]})",
                          R"([{"layer": 1, "head": 0, "kind": "burn"}])",
                          R"([{"layer": 1, "head": 0, "kind": "scale"}])",
                          "[{]"})
    EXPECT_THROW((void)read_edits(write(bad)), Error) << bad;
}

TEST(Run, AModelWithoutATokenizerSaysSo) {
  const test::TinyDecoder tiny;
  const Outcome outcome = call({tiny.folder().path().string(), "king"});
  EXPECT_NE(outcome.complaint.find("tokenizer"), std::string::npos) << outcome.complaint;
}

TEST(Run, AnEncoderGivesOneVectorOfItsWidth) {
  const Outcome outcome = call({"planted", "king", "--json"});
  ASSERT_EQ(outcome.status, 0) << outcome.complaint;
  const auto json = nlohmann::json::parse(outcome.out);
  double squares = 0.0;
  for (const auto& x : json["embedding"]) squares += x.get<double>() * x.get<double>();
  EXPECT_NEAR(squares, 1.0, 1e-5);
}

}  // namespace
}  // namespace headscope::cli
