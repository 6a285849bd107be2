// Marian's files as published: texts are cut as libsentencepiece cuts them, ids are vocab.json's.
#include <gtest/gtest.h>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "formats/scratch.h"
#include "headscope/error.h"
#include "headscope/safetensors.h"
#include "headscope/tokenizer.h"

namespace headscope {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

std::vector<std::string> lines_of(const std::string& file) {
  std::ifstream in(fs::path(HEADSCOPE_SOURCE_DIR) / file);
  std::vector<std::string> out;
  for (std::string line; std::getline(in, line);) {
    if (!line.empty()) out.push_back(line);
  }
  return out;
}

std::string trained(const std::vector<std::string>& lines, int size, const std::string& more = "") {
  const Scratch scratch;
  std::ofstream text(scratch / "text");
  for (const std::string& line : lines) text << line << '\n';
  text.close();
  const std::string prefix = (scratch / "m").string();
  const auto status = sentencepiece::SentencePieceTrainer::Train(
      "--input=" + (scratch / "text").string() + " --model_prefix=" + prefix + " --vocab_size=" +
      std::to_string(size) + " --minloglevel=3 --hard_vocab_limit=false --num_threads=1 " + more);
  EXPECT_TRUE(status.ok()) << status.ToString();
  return read_file(prefix + ".model");
}

/// Files of a translator, and what libsentencepiece makes of a text with them.
class Published {
 public:
  explicit Published(const std::string& more = "") {
    const std::vector<std::string> english = lines_of("README.md");
    const std::vector<std::string> russian = lines_of("README.ru.md");
    std::vector<std::string> both = english;
    both.insert(both.end(), russian.begin(), russian.end());
    source = trained(both, 900, more);
    const std::string target = trained(russian, 500);
    EXPECT_TRUE(processor.LoadFromSerializedProto(source).ok());
    std::vector<std::string> pieces = pieces_of(processor);
    sentencepiece::SentencePieceProcessor other;
    EXPECT_TRUE(other.LoadFromSerializedProto(target).ok());
    for (const std::string& piece : pieces_of(other)) {
      if (std::find(pieces.begin(), pieces.end(), piece) == pieces.end()) pieces.push_back(piece);
    }
    pieces.push_back("😀");  // of the other language alone
    std::shuffle(pieces.begin(), pieces.end(), random_);
    pieces.erase(pieces.begin() + 40,
                 pieces.begin() + 60);  // seen in no text that Marian learned from
    ids = {{"</s>", 0}, {"<unk>", 1}, {">>fra<<", 2}, {">>deu<<", 3}};
    for (const std::string& piece : pieces) ids.emplace(piece, static_cast<int>(ids.size()));
    ids["<pad>"] = static_cast<int>(ids.size());
    write();
  }

  void write() const {
    put("source.spm", source);
    put("vocab.json", Json(ids).dump());
  }
  /// Quicker than write_file, which waits for the disk.
  void put(const std::string& name, const std::string& bytes) const {
    std::ofstream(scratch / name, std::ios::binary) << bytes;
  }
  [[nodiscard]] Tokenizer load() const { return Tokenizer::load(scratch.path()); }

  [[nodiscard]] std::vector<std::int32_t> expected(const std::string& text) const {
    std::vector<std::string> pieces;
    EXPECT_TRUE(processor.Encode(text, &pieces).ok());
    std::vector<std::int32_t> out;
    for (const std::string& piece : pieces) {
      const auto found = ids.find(piece);
      out.push_back(found == ids.end() ? 1 : found->second);
    }
    out.push_back(0);
    return out;
  }

  /// Puts in the pieces of a text that were left out of the vocabulary.
  void know(const std::string& text) {
    std::vector<std::string> pieces;
    EXPECT_TRUE(processor.Encode(text, &pieces).ok());
    for (const std::string& piece : pieces) ids.emplace(piece, static_cast<int>(ids.size()));
    write();
  }

  Scratch scratch;
  std::string source;
  std::map<std::string, int> ids;
  sentencepiece::SentencePieceProcessor processor;

 private:
  static std::vector<std::string> pieces_of(const sentencepiece::SentencePieceProcessor& from) {
    std::vector<std::string> out;
    for (int id = 0; id < from.GetPieceSize(); ++id) {
      if (!from.IsControl(id) && !from.IsUnknown(id)) out.push_back(from.IdToPiece(id));
    }
    return out;
  }
  std::mt19937 random_{7};
};

std::vector<std::string> texts() {
  std::vector<std::string> out = {
      "",
      " ",
      "   ",
      "a",
      "  The   old  king ",
      "Старый король дал молодому принцу острый меч",
      "tab\tnewline\nand\r\nall",
      "😀😀 emoji 👩‍👩‍👧 and 🇫🇷 flags",
      "ｆｕｌｌ　ｗｉｄｔｈ １２３",
      "ﬁne ligatures ﬀ ﬃ, Ⅷ and ½ and ™",
      "e\xCC\x81 and \xC3\xA9, и\xCC\x86 и й",
      "한국어 텍스트 日本語のテキスト 中文",
      "\xC2\xA0"
      "non\xC2\xA0"
      "breaking\xE2\x80\x89thin\xE2\x80\x8B"
      "zero",
      "▁marks▁in the ▁ text▁",
      "…quotes “like” «these» — and dashes–too",
      "x\xEF\xBB\xBFy\xC2\xADz",
      std::string(300, 'a'),
      "ёжик ЁЖИК ЁЖ123 \xE2\x84\x96 5",
      "\xF0\x9D\x94\x98\xF0\x9D\x94\xAB\xF0\x9D\x94\xA6 math",
  };
  for (const char* file : {"README.md", "README.ru.md", "docs/verify.md"}) {
    for (const std::string& line : lines_of(file)) out.push_back(line);
  }
  // The same letters in every order: words that nobody has seen, in long texts.
  std::mt19937 random(5);
  const std::vector<std::string> parts = {"a",
                                          "е",
                                          "при",
                                          "ing",
                                          " ",
                                          "  ",
                                          "ст",
                                          "é",
                                          "Ж",
                                          "head",
                                          "о",
                                          "t",
                                          "ность",
                                          "\xE2\x80\x8B",
                                          "ﬁ",
                                          "😀",
                                          "０",
                                          "·"};
  for (int n = 0; n < 400; ++n) {
    std::string text;
    for (std::size_t k = random() % (n < 380 ? 40 : 3000); k > 0; --k)
      text += parts[random() % parts.size()];
    out.push_back(text);
  }
  return out;
}

TEST(Marian, CutsTextsAsSentencePieceDoes) {
  for (const char* more : {"",
                           "--normalization_rule_name=identity",
                           "--remove_extra_whitespaces=false",
                           "--add_dummy_prefix=false",
                           "--split_by_whitespace=false",
                           "--user_defined_symbols=the,headscop,оло,<x>"}) {
    SCOPED_TRACE(more);
    const Published files(more);
    const Tokenizer tokenizer = files.load();
    int unknown = 0, known = 0;
    for (const std::string& text : texts()) {
      const Encoding found = tokenizer.encode(text);
      ASSERT_EQ(found.ids, files.expected(text)) << text.substr(0, 200);
      unknown += static_cast<int>(std::count(found.ids.begin(), found.ids.end(), 1));
      known += static_cast<int>(found.ids.size());
      std::size_t at = 0;
      for (std::size_t n = 0; n + 1 < found.ids.size(); ++n) {
        EXPECT_LE(at, found.offsets[n].begin);
        EXPECT_LE(found.offsets[n].begin, found.offsets[n].end);
        EXPECT_LE(found.offsets[n].end, text.size());
        at = found.offsets[n].begin;
      }
    }
    EXPECT_GT(known, 20000);
    EXPECT_GT(unknown, 100);
    EXPECT_LT(unknown, known / 4);
  }
}

// Of letters that are frequent in the texts that the pieces are learnt from: rare ones are unknown.
TEST(Marian, AnswersSpellThemselves) {
  const std::vector<std::string> texts = {"The old king", "старый король", "heads, and tokens."};
  Published files;
  for (const std::string& text : texts) files.know(text);
  const Tokenizer tokenizer = files.load();
  for (const std::string& text : texts) {
    const Encoding found = tokenizer.encode(text);
    EXPECT_EQ(tokenizer.decode(found.ids, true), text);
    EXPECT_EQ(found.special.back(), 1);
  }
  const Encoding words = tokenizer.encode("The old king");
  EXPECT_EQ(words.words.front(), 0);
  EXPECT_EQ(words.words[words.words.size() - 2], 2);
  EXPECT_EQ(words.offsets.front().begin, 0U);
  EXPECT_EQ(words.offsets[words.offsets.size() - 2].end, 12U);
}

TEST(Marian, ALanguageIsOneToken) {
  const Published files;
  const Tokenizer tokenizer = files.load();
  const std::string text = "The old king";
  std::vector<std::int32_t> expected = files.expected(text);
  expected.insert(expected.begin(), 2);
  EXPECT_EQ(tokenizer.encode(">>fra<< " + text).ids, expected);
  EXPECT_EQ(tokenizer.encode(">>fra<<" + text).ids, expected);
  EXPECT_EQ(tokenizer.decode(expected, true), text);
  EXPECT_EQ(tokenizer.id_of(">>deu<<"), 3);
  EXPECT_EQ(tokenizer.unknown_id(), 1);
}

std::string refusal_of(const Published& files) {
  try {
    (void)files.load();
  } catch (const Error& error) {
    EXPECT_TRUE(error.code() == ErrorCode::kFormat || error.code() == ErrorCode::kUnsupported);
    return error.what();
  }
  return "nothing";
}

TEST(Marian, FilesThatDoNotFitAreRefused) {
  Published files;
  const auto whole = files.ids;
  const std::string source = files.source;
  for (const char* token : {"</s>", "<unk>"}) {
    files.ids = whole;
    files.ids.erase(token);
    files.write();
    EXPECT_NE(refusal_of(files).find(std::string("expected an id of \"") + token),
              std::string::npos);
  }
  files.ids = {{"</s>", 0}, {"<unk>", 1}, {"<pad>", 2}, {"▁other", 3}};
  files.write();
  EXPECT_NE(refusal_of(files).find("of another model?"), std::string::npos);
  files.ids = whole;
  files.ids[whole.rbegin()->first] = whole.begin()->second;
  files.write();
  EXPECT_NE(refusal_of(files).find("one token an id"), std::string::npos);
  for (const char* json : {"[]", "{\"</s>\": \"a\"}", "{", "7", "{\"</s>\": -1, \"<unk>\": 0}"}) {
    files.put("vocab.json", json);
    EXPECT_NE(refusal_of(files).find("[vocab.json]"), std::string::npos) << json;
  }
  files.ids = whole;
  files.write();
  files.put("tokenizer_config.json", R"({"separate_vocabs": true})");
  EXPECT_NE(refusal_of(files).find("separate_vocabs"), std::string::npos);
  fs::remove(files.scratch / "tokenizer_config.json");

  files.source = trained(lines_of("README.md"), 300, "--model_type=bpe");
  files.write();
  EXPECT_NE(refusal_of(files).find("expected a Unigram model"), std::string::npos);
  // Cut short anywhere, at the borders of fields too.
  for (std::size_t n = 0; n < source.size() - 1;
       n += n < 300 || n + 300 > source.size() ? 1 : 977) {
    files.put("source.spm", source.substr(0, n));
    ASSERT_NE(refusal_of(files).find("[source.spm] expected"), std::string::npos) << n;
  }
}

// A table of which a replacement has no end would write the rest of the table for every character.
TEST(Marian, ReplacementsHaveAnEnd) {
  Published files;
  const std::string source = files.source;
  // The table makes up most of the file, and its texts, each with a NUL behind it, the end.
  std::string broken = source;
  for (std::size_t at = broken.size() / 2; at + 400 < broken.size(); ++at) {
    if (broken[at] == 0) broken[at] = 'x';
  }
  files.put("source.spm", broken);
  EXPECT_NE(refusal_of(files).find("replacement of more than"), std::string::npos)
      << refusal_of(files);
}

TEST(Marian, HostileFilesAreReadOrRefusedInOneLine) {
  const Published files;
  std::vector<std::string> read;
  int refused = 0;
  for (const auto& entry :
       fs::directory_iterator(fs::path(HEADSCOPE_SOURCE_DIR) / "tests/hostile/spm")) {
    files.put("source.spm", read_file(entry.path()));
    files.put(
        "vocab.json",
        R"({"</s>": 0, "<unk>": 1, "▁king": 2, "▁": 3, "k": 4, "i": 5, "n": 6, "g": 7, "▁a": 8, "▁b": 9,
                  "king  b": 10})");
    try {
      const Encoding found = files.load().encode(" king  b");
      EXPECT_EQ(found.ids.back(), 0);
      read.push_back(entry.path().stem().string());
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << entry.path();
      EXPECT_NE(std::string(error.what()).find("expected"), std::string::npos) << entry.path();
      ++refused;
    }
  }
  std::sort(read.begin(), read.end());
  EXPECT_EQ(read,
            (std::vector<std::string>{
                "good", "kept_whole", "table_of_nothing", "table_without_tree", "twice"}));
  EXPECT_EQ(refused, 13);
}

TEST(Marian, DamagedFilesLoadOrAreRefused) {
  Published files;
  const std::string source = files.source;
  std::mt19937 random(9);
  for (int n = 0; n < 300; ++n) {
    files.source = source;
    for (int k = 0; k < 4; ++k) {
      const std::size_t at = n % 2 == 0 ? random() % 200 : random() % source.size();
      files.source[at] = static_cast<char>(random());
    }
    files.put("source.spm", files.source);
    try {
      (void)files.load().encode("Старый  король, the old king ﬁ 😀");
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("expected"), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace headscope
