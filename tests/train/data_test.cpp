// From texts to batches: tokenizers, windows, what is hidden.
#include <gtest/gtest.h>
#include <sentencepiece_processor.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "formats/scratch.h"
#include "headscope/error.h"
#include "headscope/safetensors.h"
#include "headscope/threads.h"
#include "headscope/tokenizer.h"
#include "train/draws.h"
#include "train/rows.h"
#include "train/source.h"
#include "train/stems.h"
#include "train/text_data.h"
#include "train/texts.h"
#include "train/trees.h"
#include "train/vocabulary.h"

namespace headscope::train {
namespace {

using testing::sentences;

const std::string& stems_json() {
  static const std::string json = [] {
    WordCounts counts;
    count_words(sentences(4000, 1), counts);
    return stem_tokenizer(counts, 400);
  }();
  return json;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines(1);
  for (const char c : text) {
    if (c == '\n') {
      lines.emplace_back();
    } else {
      lines.back() += c;
    }
  }
  return lines;
}

TEST(Draws, ShufflingIsABijectionThatDependsOnTheSeed) {
  for (const std::uint64_t n : {1ULL, 2ULL, 3ULL, 17ULL, 256ULL, 1000ULL}) {
    std::set<std::uint64_t> seen;
    std::size_t moved = 0;
    for (std::uint64_t i = 0; i < n; ++i) {
      const std::uint64_t to = shuffled(i, n, 7);
      EXPECT_LT(to, n);
      seen.insert(to);
      moved += shuffled(i, n, 8) != to ? 1U : 0U;
    }
    EXPECT_EQ(seen.size(), n);
    if (n >= 17) {
      EXPECT_GT(moved, n / 2);
    }
  }
  double mean = 0.0;
  for (std::uint64_t i = 0; i < 10'000; ++i) mean += unit(draw(3, i)) / 10'000.0;
  EXPECT_NEAR(mean, 0.5, 0.015);
}

TEST(Stems, EndAtTheBordersThatSnowballSets) {
  const Stemmer stemmer;
  const auto split = [&](const std::string& word) {
    const std::size_t at = stemmer.stem_of(word);
    return word.substr(0, at) + '+' + word.substr(at);
  };
  EXPECT_EQ(split("молодому"), "молод+ому");
  EXPECT_EQ(split("король"), "корол+ь");
  EXPECT_EQ(split("меч"), "меч+");
  EXPECT_EQ(split("и"), "и+");
  EXPECT_EQ(split("walked"), "walk+ed");
  EXPECT_EQ(split("kings"), "king+s");
  EXPECT_EQ(split("generalization"), "generalization+");  // another word, not another form
  EXPECT_EQ(split("1842"), "1842+");
  EXPECT_TRUE(is_function_word("the", Script::kEnglish));
  EXPECT_FALSE(is_function_word("king", Script::kEnglish));
  EXPECT_TRUE(is_function_word("не", Script::kRussian));
}

TEST(StemTokenizer, SplitsRunningWordsWhereTheStemmerDoes) {
  const Tokenizer tokenizer = Tokenizer::parse(stems_json(), "stems");
  EXPECT_LE(tokenizer.vocabulary_size(), 400);
  for (std::int32_t id = 0; id < kSpecialCount; ++id)
    EXPECT_EQ(tokenizer.token_of(id), kSpecials[id]);
  const auto pieces = tokenizer.encode("Старый сокола знал молодому", true).tokens;
  EXPECT_EQ(pieces,
            (std::vector<std::string>{
                "[CLS]", "стар", "##ый", "сокол", "##а", "знал", "молод", "##ому", "[SEP]"}));
  // ё and capitals are е and small letters, also for the inference tokenizer.
  EXPECT_EQ(tokenizer.encode("СТАРЫЙ", false).tokens, tokenizer.encode("старый", false).tokens);
  EXPECT_EQ(tokenizer.encode("ё", false).tokens, tokenizer.encode("е", false).tokens);
}

TEST(StemTokenizer, RefusesWhatItCannotLearnFrom) {
  EXPECT_THROW((void)stem_tokenizer({}, 400), Error);
  WordCounts counts;
  count_words(sentences(100, 1), counts);
  EXPECT_THROW((void)stem_tokenizer(counts, 30), Error);
  EXPECT_THROW(count_words("\xFF", counts), Error);
}

/// Ids of tokenizer.json against SentencePiece's own, on lines it learnt from and on others.
void expect_same_ids(bool bpe) {
  std::string proto;
  const std::string json =
      sentencepiece_tokenizer({sentences(3000, 2)}, {.bpe = bpe, .size = 300}, &proto);
  sentencepiece::SentencePieceProcessor own;
  ASSERT_TRUE(own.LoadFromSerializedProto(proto).ok());
  const Tokenizer tokenizer = Tokenizer::parse(json, "sentencepiece");
  EXPECT_EQ(tokenizer.vocabulary_size(), own.GetPieceSize());
  std::vector<std::string> lines = lines_of(sentences(200, 3));
  for (const char* line : {"",
                           " ",
                           "  two  spaces ",
                           "König Łódź 漢字",
                           "старыйстарый",
                           "a\tb",
                           "x",
                           "...!!",
                           "е\u0301"}) {
    lines.emplace_back(line);
  }
  for (const std::string& line : lines) {
    std::vector<int> expected;
    ASSERT_TRUE(own.Encode(line, &expected).ok());
    const auto found = tokenizer.encode(line, false).ids;
    EXPECT_EQ(std::vector<int>(found.begin(), found.end()), expected) << line;
  }
}

TEST(SentencePiece, UnigramIdsAreItsOwn) { expect_same_ids(false); }
TEST(SentencePiece, BpeIdsAreItsOwn) { expect_same_ids(true); }

class Texts : public ::testing::Test {
 protected:
  Texts() { write_file(scratch_ / "text.txt", std::string_view(sentences(3000, 4))); }
  TextData read(const TextOptions& options) {
    return TextData::of(scratch_ / "text.txt", tokenizer_, stems_json(), options);
  }
  TextOptions options(bool sentence, std::int64_t window) {
    TextOptions out;
    out.sentences = sentence;
    out.kinds = sentence;
    out.window = window;
    out.cache = scratch_ / "cache";
    return out;
  }

  Scratch scratch_;
  Tokenizer tokenizer_ = Tokenizer::parse(stems_json(), "stems");
};

TEST_F(Texts, WindowsAreTheTextAndKindsTellEndings) {
  const TextData data = read(options(true, 30));
  std::vector<std::int32_t> all;
  std::int64_t ends = 0;
  for (std::int64_t w = 0; w < data.windows(); ++w) {
    const auto ids = data.ids(w);
    const auto kinds = data.kinds(w);
    ASSERT_LE(ids.size(), 30U);
    ASSERT_EQ(ids.size(), kinds.size());
    all.insert(all.end(), ids.begin(), ids.end());
    const bool ended = (kinds.back() & kEndsSentence) != 0;
    ends += ended ? 1 : 0;
    for (std::size_t i = 15; i < kinds.size() && !ended; ++i) {
      EXPECT_EQ(kinds[i] & kEndsSentence, 0) << "it could have ended with a sentence";
    }
    EXPECT_NE(kinds[0] & kKindMask, kEnding) << "a window begins inside of a word";
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const std::string token = tokenizer_.token_of(ids[i]);
      if ((kinds[i] & kKindMask) == kEnding) {
        EXPECT_TRUE(token.starts_with("##")) << token;
      }
    }
  }
  EXPECT_EQ(all, [&] {
    std::vector<std::int32_t> expected;
    for (const std::string& line : lines_of(sentences(3000, 4))) {
      const auto ids = tokenizer_.encode(line, false).ids;
      expected.insert(expected.end(), ids.begin(), ids.end());
    }
    return expected;
  }());
  EXPECT_GT(ends, data.windows() * 8 / 10);  // most sentences are shorter than half a window
  const Borders& borders = data.borders();
  EXPECT_GT(borders.with_ending, 3000);
  EXPECT_GT(static_cast<double>(borders.kept), 0.97 * static_cast<double>(borders.with_ending));
}

TEST_F(Texts, TheCacheKnowsTextTokenizerAndOptions) {
  int worked = 0;
  TextOptions how = options(true, 30);
  how.progress = [&](std::size_t done, std::size_t all) { worked += done == all ? 1 : 0; };
  const TextData first = read(how);
  EXPECT_EQ(worked, 1);
  const TextData again = read(how);
  EXPECT_EQ(worked, 1) << "made once";
  EXPECT_EQ(again.borders().kept, first.borders().kept);
  EXPECT_TRUE(std::ranges::equal(again.ids(3), first.ids(3)));
  how.window = 20;
  (void)read(how);
  EXPECT_EQ(worked, 2);
  write_file(scratch_ / "text.txt", std::string_view(sentences(3000, 5)));
  (void)read(how);
  EXPECT_EQ(worked, 3);
  write_file(scratch_ / "text.txt", std::string_view(" \n \n"));
  EXPECT_THROW((void)read(how), Error);
}

TEST_F(Texts, TheSameWindowsAtAnyNumberOfThreads) {
  const int before = threads();
  TextOptions one = options(true, 30);
  one.cache = scratch_ / "one";
  set_threads(1);
  const TextData a = read(one);
  set_threads(3);
  one.cache = scratch_ / "three";
  const TextData b = read(one);
  set_threads(before);
  ASSERT_EQ(a.windows(), b.windows());
  for (std::int64_t w = 0; w < a.windows(); ++w) {
    EXPECT_TRUE(std::ranges::equal(a.ids(w), b.ids(w)));
    EXPECT_TRUE(std::ranges::equal(a.kinds(w), b.kinds(w)));
  }
}

TEST_F(Texts, CausalLabelsAreTheNextTokens) {
  auto data = std::make_shared<const TextData>(read(options(false, 16)));
  const auto source = causal_source({{data, 3}}, 9);
  const Batch batch = source->batch(5);
  const auto ids = batch.ids.span<std::int32_t>();
  const auto labels = batch.labels.span<std::int32_t>();
  const auto starts = batch.cu_seqlens.span<std::int32_t>();
  ASSERT_EQ(starts.size(), 4U);
  EXPECT_EQ(starts.back(), static_cast<std::int32_t>(ids.size()));
  for (std::size_t s = 0; s + 1 < starts.size(); ++s) {
    for (auto i = static_cast<std::size_t>(starts[s]); i < static_cast<std::size_t>(starts[s + 1]);
         ++i) {
      const bool last = i + 1 == static_cast<std::size_t>(starts[s + 1]);
      EXPECT_EQ(labels[i], last ? -100 : ids[i + 1]);
    }
  }
}

TEST_F(Texts, EveryWindowComesOnceAPass) {
  auto data = std::make_shared<const TextData>(read(options(false, 16)));
  const auto source = causal_source({{data, 1}}, 9);
  EXPECT_EQ(source->pass(), static_cast<std::uint64_t>(data->windows()));
  std::map<std::vector<std::int32_t>, int> expected, found;
  for (std::uint64_t n = 0; n < source->pass(); ++n) {
    const Batch batch = source->batch(n);
    const auto ids = batch.ids.span<std::int32_t>();
    ++found[{ids.begin(), ids.end()}];
    const auto window = data->ids(static_cast<std::int64_t>(n));
    ++expected[{window.begin(), window.end()}];
  }
  EXPECT_EQ(found, expected);
  // The next pass has another order; a batch is the same whenever it is asked for.
  const auto at = [&](std::uint64_t n) {
    const Batch batch = source->batch(n);
    const auto ids = batch.ids.span<std::int32_t>();
    return std::vector<std::int32_t>(ids.begin(), ids.end());
  };
  int moved = 0;
  for (std::uint64_t n = 0; n < 20; ++n) moved += at(n) != at(n + source->pass()) ? 1 : 0;
  EXPECT_GT(moved, 10);
  EXPECT_EQ(at(7), at(7));
}

TEST_F(Texts, EndingsAndWordsAreHiddenAsOftenAsAsked) {
  auto data = std::make_shared<const TextData>(read(options(true, 30)));
  Hiding hiding;
  hiding.masked = 0.7;
  hiding.replaced = 0.2;
  const auto source = masked_source({{data, 8}}, hiding, 11, tokenizer_.vocabulary_size());
  std::map<int, double> tokens, hidden;
  double masked = 0.0, replaced = 0.0, kept = 0.0;
  for (std::uint64_t n = 0; n < 60; ++n) {
    const Batch batch = source->batch(n);
    const auto ids = batch.ids.span<std::int32_t>();
    const auto labels = batch.labels.span<std::int32_t>();
    ASSERT_EQ(ids.front(), kClass);
    ASSERT_EQ(ids.back(), kSeparator);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const std::int32_t truth = labels[i] >= 0 ? labels[i] : ids[i];
      if (truth < kSpecialCount) continue;
      const bool ending = tokenizer_.token_of(truth).starts_with("##");
      ++tokens[ending ? 1 : 0];
      if (labels[i] < 0) continue;
      ++hidden[ending ? 1 : 0];
      masked += ids[i] == kMask ? 1 : 0;
      kept += ids[i] == truth ? 1 : 0;
      replaced += ids[i] != kMask && ids[i] != truth ? 1 : 0;
    }
  }
  // Endings go alone (.35) or with their stem (.08); digits go on with "##" too and are never hidden.
  EXPECT_GT(hidden[1] / tokens[1], 0.22);
  EXPECT_LT(hidden[1] / tokens[1], 0.45);
  EXPECT_GT(hidden[0] / tokens[0], 0.03);
  EXPECT_LT(hidden[0] / tokens[0], 0.2);
  const double all = masked + kept + replaced;
  EXPECT_NEAR(masked / all, 0.7, 0.03);
  EXPECT_NEAR(replaced / all, 0.2, 0.03);
  EXPECT_NEAR(kept / all, 0.1, 0.03);
}

TEST_F(Texts, EnglishWordsAreHiddenAsTheirOwnSharesSay) {
  auto data = std::make_shared<const TextData>(read(options(true, 30)));
  Hiding hiding;
  hiding.masked = 1.0;
  hiding.words = {.endings = 0.0, .stems = 0.0, .words = 0.0, .functions = 0.0, .marks = 0.0};
  hiding.english = {.endings = 0.5, .stems = 0.5, .words = 0.9, .functions = 0.0, .marks = 0.0};
  const auto source = masked_source({{data, 8}}, hiding, 11, tokenizer_.vocabulary_size());
  std::int64_t hidden = 0;
  for (std::uint64_t n = 0; n < 20; ++n) {
    const Batch batch = source->batch(n);
    for (const std::int32_t label : batch.labels.span<std::int32_t>()) {
      if (label < 0) continue;
      ++hidden;
      const std::string& token = tokenizer_.token_of(label);
      EXPECT_TRUE(std::all_of(token.begin(), token.end(), [](char c) { return c > 0; })) << token;
    }
  }
  EXPECT_GT(hidden, 100);
}

TEST_F(Texts, GapsStandBetweenWordsAndAreNotAskedFor) {
  auto data = std::make_shared<const TextData>(read(options(true, 30)));
  Hiding hiding;
  hiding.masked = 1.0;
  hiding.replaced = 0.0;
  const auto plain = masked_source({{data, 8}}, hiding, 11, tokenizer_.vocabulary_size());
  hiding.gaps = 0.25;
  const auto gapped = masked_source({{data, 8}}, hiding, 11, tokenizer_.vocabulary_size());
  double words = 0.0, gaps = 0.0;
  for (std::uint64_t n = 0; n < 20; ++n) {
    const Batch a = plain->batch(n), b = gapped->batch(n);
    const auto ids = b.ids.span<std::int32_t>(), labels = b.labels.span<std::int32_t>();
    std::vector<std::int32_t> left_ids, left_labels;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] == kMask && labels[i] < 0) {
        ++gaps;
        ASSERT_LT(i + 1, ids.size());
        EXPECT_NE(ids[i + 1], kSeparator) << "behind the last word";
        EXPECT_TRUE(labels[i + 1] >= 0 || !tokenizer_.token_of(ids[i + 1]).starts_with("##"))
            << "within a word";
        continue;
      }
      left_ids.push_back(ids[i]);
      left_labels.push_back(labels[i]);
      words += ids[i] >= kSpecialCount && !tokenizer_.token_of(ids[i]).starts_with("##") ? 1 : 0;
    }
    // Without them the batch is what it was.
    const auto was_ids = a.ids.span<std::int32_t>(), was = a.labels.span<std::int32_t>();
    EXPECT_EQ(left_ids, std::vector<std::int32_t>(was_ids.begin(), was_ids.end()));
    EXPECT_EQ(left_labels, std::vector<std::int32_t>(was.begin(), was.end()));
  }
  EXPECT_GT(gaps / words, 0.2);
  EXPECT_LT(gaps / words, 0.4);  // hidden words are not among `words`
}

// "Мастеру" and "мастера" are two tokens each here; the king gives, the master receives.
constexpr const char* kTrees = R"(# sent_id = one
1	Король	король	NOUN	_	_	2	nsubj	_	_
2	дал	дать	VERB	_	_	0	root	_	_
3	мастеру	мастер	NOUN	_	_	2	iobj	_	_
4	завод	завод	NOUN	_	_	2	obj	_	SpaceAfter=No
5	.	.	PUNCT	_	_	2	punct	_	_

# sent_id = two
1	Театр	театр	NOUN	_	_	2	nsubj	_	_
2	видел	видеть	VERB	_	_	0	root	_	_
3	мастера	мастер	NOUN	_	_	2	obj	_	SpaceAfter=No
4	.	.	PUNCT	_	_	2	punct	_	_

)";

class Trees : public Texts {
 protected:
  Trees() { write_file(scratch_ / "a.conllu", std::string_view(kTrees)); }
  std::unique_ptr<Source> taught(const Teaching& teaching, std::int64_t longest = 64) {
    auto data = std::make_shared<const TextData>(read(options(true, 30)));
    auto base = masked_source({{data, 2}}, {}, 11, tokenizer_.vocabulary_size());
    return taught_source(std::move(base), teaching, tokenizer_, longest, 5);
  }
  /// The letters of rows [first, last] of a batch.
  std::string letters(const Batch& batch, std::int32_t first, std::int32_t last) {
    std::string out;
    for (std::int32_t i = first; i <= last; ++i) {
      std::string token =
          tokenizer_.token_of(batch.ids.span<std::int32_t>()[static_cast<std::size_t>(i)]);
      out += token.starts_with("##") ? token.substr(2) : token;
    }
    return out;
  }
};

TEST_F(Trees, EveryTokenOfAWordIsToLookAtAllOfTheOther) {
  Teaching teaching;
  teaching.trees = {scratch_ / "a.conllu"};
  teaching.heads = {{3, 1, "nsubj>iobj", false}, {2, 0, "obj", true}};
  teaching.sentences = 3;
  const auto source = taught(teaching);
  std::set<std::string> seen;
  for (std::uint64_t n = 0; n < 6; ++n) {
    const Batch batch = source->batch(n);
    const auto looks = batch.looks.view<std::int32_t, 2>();
    const auto cu = batch.cu_seqlens.span<std::int32_t>();
    ASSERT_EQ(cu.size(), 2U + 3U + 1U);  // two windows, three sentences
    ASSERT_EQ(cu.back(), batch.ids.size());
    EXPECT_EQ(batch.labels.size(), batch.ids.size());
    for (std::int64_t i = 0; i < looks.shape[0]; ++i) {
      // The word around the row, and the columns it should look at.
      std::int32_t row = looks(i, 2);
      EXPECT_GE(row, cu[2]) << "only sentences of trees teach";
      EXPECT_EQ(batch.labels.span<std::int32_t>()[static_cast<std::size_t>(row)], kNoLabel);
      seen.insert(std::to_string(looks(i, 0)) + '.' + std::to_string(looks(i, 1)) + ' ' +
                  letters(batch, row, row) + ">" + letters(batch, looks(i, 3), looks(i, 4)));
    }
  }
  // Of every token of the word that looks at whole words: all pieces of "мастеру", not its stem alone.
  bool giver = false;
  bool thing = false;
  for (const std::string& look : seen) {
    giver |= look.starts_with("3.1 ") && look.ends_with(">мастеру");
    thing |= look.starts_with("2.0 ") && (look.ends_with(">завод") || look.ends_with(">мастера"));
    EXPECT_TRUE(look.ends_with(">мастеру") || look.ends_with(">завод") ||
                look.ends_with(">мастера"))
        << look;
  }
  EXPECT_TRUE(giver && thing);
}

TEST_F(Trees, WhatTestsWillAskIsLeftOutAndNothingToTeachIsAnError) {
  write_file(scratch_ / "test.conllu",
             std::string_view(kTrees).substr(0, std::string_view(kTrees).find("# sent_id = two")));
  Teaching teaching;
  teaching.trees = {scratch_ / "a.conllu"};
  teaching.without = {scratch_ / "test.conllu"};
  teaching.heads = {{0, 0, "nsubj>iobj", false}};
  EXPECT_THROW((void)taught(teaching), Error);  // only the first sentence holds one
  teaching.heads[0].relation = "obj";
  const Batch batch = taught(teaching)->batch(0);
  const auto looks = batch.looks.view<std::int32_t, 2>();
  for (std::int64_t i = 0; i < looks.shape[0]; ++i)
    EXPECT_EQ(letters(batch, looks(i, 3), looks(i, 4)), "видел");
  EXPECT_THROW((void)taught(teaching, 4), Error);  // too long, all of them
}

}  // namespace
}  // namespace headscope::train
