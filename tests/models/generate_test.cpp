#include "headscope/generate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "formats/json.h"
#include "models/generation_config.h"
#include "models/model_files.h"
#include "models/tiny_decoder.h"
#include "models/tiny_pair.h"

namespace headscope {
namespace {

std::vector<std::int32_t> first_ids(std::size_t n) {
  std::vector<std::int32_t> ids;
  for (std::size_t i = 0; i < n; ++i) ids.push_back(static_cast<std::int32_t>((7 * i + 3) % 40));
  return ids;
}

std::vector<std::int32_t> greedy(const Model& model, std::vector<std::int32_t> ids, int steps) {
  std::vector<std::int32_t> out;
  for (int n = 0; n < steps; ++n) {
    Tokens tokens;
    tokens.ids = Tensor(DType::kI32, {1, static_cast<std::int64_t>(ids.size())});
    std::copy(ids.begin(), ids.end(), tokens.ids.span<std::int32_t>().begin());
    const headscope::Run run = model.run(tokens);
    const auto logits = run.logits.view<float, 3>();
    const float* last = &logits(0, logits.shape[1] - 1, 0);
    out.push_back(static_cast<std::int32_t>(std::max_element(last, last + logits.shape[2]) - last));
    ids.push_back(out.back());
  }
  return out;
}

TEST(Generate, GreedyAnswerIsTheLargestLogitOfEveryWholeRun) {
  const test::TinyDecoder tiny;
  const Model model = tiny.load();
  GenerateOptions options;
  options.most = 12;
  options.block = 3;  // the prompt comes in uneven blocks
  Generator generator(model, options);
  generator.read(first_ids(8));
  while (generator.step()) {
  }
  EXPECT_EQ(generator.answer(), greedy(model, first_ids(8), 12));
  EXPECT_EQ(generator.ended(), Ended::kMost);
}

TEST(Generate, SequencesThatGrowTogetherAreThoseThatGrowAlone) {
  const test::TinyDecoder tiny;
  const Model model = tiny.load();
  GenerateOptions options;
  options.most = 9;
  Generator both(model, options, 2);
  both.read(first_ids(11), 0);
  both.read(first_ids(4), 1);
  while (both.step()) {
  }
  EXPECT_EQ(both.answer(0), greedy(model, first_ids(11), 9));
  EXPECT_EQ(both.answer(1), greedy(model, first_ids(4), 9));
}

TEST(Generate, ATalkGoesOnWhereItsBeginningIsKept) {
  const test::TinyDecoder tiny;
  const Model model = tiny.load();
  GenerateOptions options;
  options.most = 4;
  Generator generator(model, options);
  generator.read(first_ids(6));
  while (generator.step()) {
  }
  std::vector<std::int32_t> all = first_ids(6);
  all.insert(all.end(), generator.answer().begin(), generator.answer().end());
  all.push_back(9);
  generator.read(all);
  while (generator.step()) {
  }
  EXPECT_EQ(generator.answer(), greedy(model, all, 4));
  // Another beginning: nothing of the old one is left.
  generator.read(first_ids(5));
  while (generator.step()) {
  }
  EXPECT_EQ(generator.answer(), greedy(model, first_ids(5), 4));
}

TEST(Generate, ASightRecordsEveryStepWithoutChangingIt) {
  const test::TinyDecoder tiny;
  const Model model = tiny.load();
  const Sight sight;
  GenerateOptions options;
  options.most = 3;
  options.sight = &sight;
  Generator generator(model, options);
  generator.read(first_ids(5));
  std::int64_t length = 5;
  while (generator.step()) {
    ASSERT_EQ(generator.sighting().layers.size(), static_cast<std::size_t>(model.layers()));
    EXPECT_EQ(generator.sighting().layers[0].keys, length);
    ++length;
  }
  EXPECT_EQ(generator.answer(), greedy(model, first_ids(5), 3));
}

TEST(Generate, AnEditChangesTheAnswerAsItChangesARun) {
  const test::TinyDecoder tiny;
  const Model model = tiny.load();
  GenerateOptions options;
  options.most = 1;
  for (int h = 0; h < model.heads(); ++h) options.edits.emplace_back().head = h;
  Generator edited(model, options);
  edited.read(first_ids(7));
  Tokens tokens;
  tokens.ids = Tensor(DType::kI32, {1, 7});
  const auto ids = first_ids(7);
  std::copy(ids.begin(), ids.end(), tokens.ids.span<std::int32_t>().begin());
  RunOptions run;
  run.edits = options.edits;
  const headscope::Run whole = model.run(tokens, run);
  const auto expected = whole.logits.view<float, 3>();
  for (std::int64_t v = 0; v < expected.shape[2]; ++v)
    EXPECT_NEAR(edited.logits()[static_cast<std::size_t>(v)], expected(0, 6, v), 1e-5F);
}

TEST(Generate, APromptPastThePositionsSaysByHowMuch) {
  const test::TinyDecoder tiny;
  const Model model = tiny.load();
  GenerateOptions options;
  options.positions = 6;
  Generator generator(model, options);
  try {
    generator.read(first_ids(9));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInput);
    EXPECT_NE(std::string(error.what()).find("3 too many"), std::string::npos) << error.what();
  }
  generator.read(first_ids(5));
  while (generator.step()) {
  }
  EXPECT_EQ(generator.ended(), Ended::kFull);
  EXPECT_EQ(generator.answer().size(), 2U);
}

TEST(Generate, ASequenceThatSlidesOnIsARunOfWhatItKeeps) {
  const test::TinyDecoder tiny;
  const Model model = tiny.load();
  for (const std::int64_t positions : {2, 3, 7, 10}) {
    const auto half = static_cast<std::ptrdiff_t>(positions / 2);
    GenerateOptions options;
    options.positions = positions;
    options.slide = true;
    options.most = 40;
    Generator generator(model, options);
    const std::vector<std::int32_t> prompt =
        first_ids(static_cast<std::size_t>(std::min<std::int64_t>(positions, 6)));
    generator.read(prompt);
    std::vector<std::int32_t> all = prompt;
    std::vector<std::int32_t> kept = prompt;
    while (generator.step()) {
      const std::int32_t next = generator.answer().back();
      ASSERT_EQ(next, greedy(model, kept, 1).front()) << positions << ' ' << all.size();
      for (std::size_t i = 0; i < kept.size(); ++i) {
        const auto number =
            static_cast<std::size_t>(generator.number_of(static_cast<std::int64_t>(i)));
        ASSERT_EQ(kept[i], all.at(number));
      }
      if (static_cast<std::int64_t>(kept.size()) == positions)
        kept.erase(kept.begin() + 1, kept.end() - (half - 1));
      kept.push_back(next);
      all.push_back(next);
    }
    EXPECT_EQ(generator.answer().size(), 40U);
    EXPECT_EQ(generator.ended(), Ended::kMost);
  }
  GenerateOptions options;
  options.positions = 1;
  options.slide = true;
  EXPECT_THROW(Generator(model, options), Error);
}

TEST(Generate, SequencesSlideOnOneByOne) {
  const test::TinyDecoder tiny;
  const Model model = tiny.load();
  GenerateOptions options;
  options.positions = 9;
  options.slide = true;
  options.most = 25;
  const auto alone = [&](std::size_t n) {
    Generator one(model, options);
    one.read(first_ids(n));
    while (one.step()) {
    }
    return one.answer();
  };
  Generator both(model, options, 2);
  both.read(first_ids(7), 0);
  both.read(first_ids(4), 1);
  while (both.step()) {
  }
  EXPECT_EQ(both.answer(0), alone(7));
  EXPECT_EQ(both.answer(1), alone(4));
}

// The same weights with other rotary positions.
Model load_with(const test::TinyDecoder& tiny, const char* more) {
  const auto path = tiny.folder() / "config.json";
  json::Value config = json::parse(read_file(path), "config.json");
  config.update(json::parse(more, "more"));
  write_file(path, config.dump());
  return tiny.load();
}
constexpr const char* kLongRope =
    R"({"original_max_position_embeddings": 12, "rope_scaling": {"type": "longrope",
        "short_factor": [1.0, 1.3], "long_factor": [3.0, 9.0]}})";
constexpr const char* kDynamic =
    R"({"max_position_embeddings": 12, "rope_scaling": {"type": "dynamic", "factor": 4.0}})";

std::vector<float> last_logits(const Model& model, const std::vector<std::int32_t>& ids) {
  Tokens tokens;
  tokens.ids = Tensor(DType::kI32, {1, static_cast<std::int64_t>(ids.size())});
  std::copy(ids.begin(), ids.end(), tokens.ids.span<std::int32_t>().begin());
  const headscope::Run run = model.run(tokens);
  const auto last = run.logits.span<float>().last(static_cast<std::size_t>(run.logits.dim(2)));
  return {last.begin(), last.end()};
}

void expect_near(std::span<const float> a, const std::vector<float>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < b.size(); ++i) ASSERT_NEAR(a[i], b[i], 1e-4F) << i;
}

TEST(GenerateRope, APromptInBlocksTurnsByItsWholeLength) {
  for (const char* rope : {kLongRope, kDynamic}) {
    const test::TinyDecoder tiny;
    const Model model = load_with(tiny, rope);
    GenerateOptions options;
    options.positions = 64;
    options.block = 7;
    Generator generator(model, options);
    for (const std::size_t n :
         {30, 6, 9, 40, 41}) {  // what was read for another length is of no use
      generator.read(first_ids(n));
      expect_near(generator.logits(), last_logits(model, first_ids(n)));
    }
  }
}

TEST(GenerateRope, AnAnswerThatPassesTheSwitchOfLongRopeIsThatOfWholeRuns) {
  const test::TinyDecoder tiny;
  const Model model = load_with(tiny, kLongRope);
  GenerateOptions options;
  options.positions = 64;
  options.most = 16;
  options.block = 5;
  for (const bool slides : {false, true}) {
    options.slide = slides;
    options.positions = slides ? 18 : 64;
    Generator generator(model, options);
    std::vector<std::int32_t> kept = first_ids(8);
    generator.read(kept);
    while (generator.step()) {
      expect_near(generator.logits(), last_logits(model, kept));
      if (static_cast<std::int64_t>(kept.size()) == generator.positions())
        kept.erase(kept.begin() + 1, kept.end() - 8);
      kept.push_back(generator.answer().back());
    }
    EXPECT_EQ(generator.answer().size(), 16U);
  }
}

TEST(GenerateRope, SequencesOfUnlikeLengthsTurnEachByItsOwn) {
  for (const char* rope : {kLongRope, kDynamic}) {
    const test::TinyDecoder tiny;
    const Model model = load_with(tiny, rope);
    GenerateOptions options;
    options.positions = 64;
    options.most = 12;
    Generator together(model, options, 3);
    const std::size_t lengths[] = {15, 4, 9};
    for (std::size_t n = 0; n < 3; ++n) together.read(first_ids(lengths[n]), n);
    while (together.step()) continue;
    for (std::size_t n = 0; n < 3; ++n) {
      Generator alone(model, options);
      alone.read(first_ids(lengths[n]));
      while (alone.step()) continue;
      EXPECT_EQ(together.answer(n), alone.answer()) << rope << n;
    }
  }
}

TEST(Generate, MorePositionsThanTheTableHasAreRefused) {
  const test::TinyPair tiny(test::TinyPair::Kind::kBart);
  const Model model = tiny.load();
  GenerateOptions options;
  options.positions = model.answer_positions();
  (void)Generator(model, options);
  ++options.positions;
  for (const bool slide : {false, true}) {
    options.slide = slide;
    try {
      (void)Generator(model, options);
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kRange);
      EXPECT_NE(std::string(error.what()).find("at most 20 tokens"), std::string::npos)
          << error.what();
    }
  }
}

json::Value gguf_tokens(const std::vector<std::string>& control, std::size_t plain) {
  json::Value tokens = {"<unk>", "<s>", "</s>"};
  json::Value types = {2, 3, 3};
  for (const std::string& token : control) {
    tokens.push_back(token);
    types.push_back(3);
  }
  for (std::size_t n = 0; n < plain; ++n) {
    tokens.push_back(std::string(n + 1, 'a'));
    types.push_back(1);
  }
  const std::vector<float> scores(tokens.size(), 0.0F);
  return {{"tokenizer.ggml.model", "llama"},
          {"tokenizer.ggml.eos_token_id", 2},
          {"tokenizer.ggml.tokens", tokens},
          {"tokenizer.ggml.token_type", types},
          {"tokenizer.ggml.scores", scores}};
}

TEST(Generate, ControlTokensThatEndATurnEndAnAnswer) {
  using Ids = std::vector<std::int32_t>;
  const auto stops = [](const json::Value& metadata) {
    return models::generation_config_from_gguf(metadata).stop_ids;
  };
  EXPECT_EQ(stops(gguf_tokens({"<|im_end|>", "<|im_start|>", "<end_of_turn>"}, 4)), (Ids{2, 3, 5}));
  EXPECT_EQ(stops(gguf_tokens({"<|end|>", "<|user|>"}, 4)), (Ids{2, 3}));
  EXPECT_EQ(stops(gguf_tokens({"<|end|>", "<|return|>", "<|call|>"}, 4)), (Ids{2, 4, 5}));
  json::Value plain = gguf_tokens({"<|im_end|>"}, 4);
  plain["tokenizer.ggml.token_type"][3] = 1;  // a word that is only spelled so
  EXPECT_EQ(stops(plain), (Ids{2}));
  plain["tokenizer.ggml.token_type"][3] = 4;  // user-defined, as older converters wrote
  EXPECT_EQ(stops(plain), (Ids{2, 3}));
  plain.erase("tokenizer.ggml.token_type");
  EXPECT_EQ(stops(plain), (Ids{2, 3}));
}

TEST(Generate, AGgufWithoutTokensTakesTheTokenizerBesideIt) {
  models::ModelFiles files;
  files.metadata = std::make_shared<const json::Value>(json::Value::object());
  const std::filesystem::path folder = Model::load("planted").folder();
  const models::Place place{"x", folder, folder / "x.gguf", folder / "x.gguf"};
  const std::int32_t tokens = Tokenizer::load(folder).vocabulary_size();
  EXPECT_TRUE(models::read_tokenizer(place, files, tokens + 5).has_value());
  EXPECT_THROW((void)models::read_tokenizer(place, files, 10 * tokens), Error);
}

TEST(Generate, AGgufHasATokenForEveryRow) {
  models::ModelFiles files;
  files.metadata = std::make_shared<const json::Value>(gguf_tokens({}, 7));
  const models::Place place{"x", "/nowhere", "/nowhere/x.gguf", "/nowhere/x.gguf"};
  EXPECT_TRUE(models::read_tokenizer(place, files, 10).has_value());
  for (const std::int64_t rows : {9, 11}) {
    try {
      (void)models::read_tokenizer(place, files, rows);
      ADD_FAILURE() << rows;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("found 10: of another model?"), std::string::npos)
          << error.what();
    }
  }
}

TEST(Generate, ForesightIsTheMeanOfWholeRuns) {
  const test::TinyDecoder tiny;
  const Model model = tiny.load();
  const auto ids = first_ids(20);
  const Foresight found = foresight(model, ids, {.block = 7});
  Tokens tokens;
  tokens.ids = Tensor(DType::kI32, {1, 20});
  std::copy(ids.begin(), ids.end(), tokens.ids.span<std::int32_t>().begin());
  const headscope::Run run = model.run(tokens);
  const auto logits = run.logits.view<float, 3>();
  double sum = 0.0;
  for (std::int64_t i = 0; i < 19; ++i) {
    double z = 0.0;
    for (std::int64_t v = 0; v < logits.shape[2]; ++v) z += std::exp(double{logits(0, i, v)});
    sum += std::log(z) - double{logits(0, i, ids[static_cast<std::size_t>(i) + 1])};
  }
  EXPECT_EQ(found.tokens, 19);
  EXPECT_NEAR(found.nll, sum / 19.0, 1e-5);
  EXPECT_NEAR(found.perplexity(), std::exp(sum / 19.0), 1e-3);
  EXPECT_THROW((void)foresight(model, first_ids(1)), Error);
  EXPECT_THROW((void)foresight(model, ids, {.window = 1}), Error);
}

}  // namespace
}  // namespace headscope
