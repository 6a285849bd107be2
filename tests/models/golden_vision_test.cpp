// Heads of models that see: looked at and edited through Model::run, on the tiny models of golden/families.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "golden/golden.h"
#include "headscope/model.h"
#include "headscope/safetensors.h"

namespace headscope {
namespace {

const std::vector<std::string> kCases = {"vit", "vit_model", "deit", "dinov2", "dinov2_registers", "dinov2_swiglu",
                                         "beit", "swin", "clip", "clip_eos", "siglip", "videomae", "timesformer"};

struct Case {
  Model model;
  Tokens tokens;

  explicit Case(const std::string& name)
      : model(Model::load((golden::golden_dir() / "families" / name).string())) {
    const Safetensors io =
        Safetensors::open(golden::golden_dir() / "families" / name / "io.safetensors");
    tokens.pixels = Tensor::copy_of(io.at("pixel_values"));
    if (io.find("input_ids") == nullptr) return;
    const auto ids = io.at("input_ids").view<std::int64_t, 2>();
    tokens.ids = Tensor(DType::kI32, {ids.shape[0], ids.shape[1]});
    std::transform(ids.data, ids.data + ids.size(), tokens.ids.span<std::int32_t>().begin(), [](std::int64_t id) {
      return static_cast<std::int32_t>(id);
    });
  }
};

RunOptions everything(const Model& model, const Sight& sight) {
  RunOptions options;
  options.sight = &sight;
  options.hidden_states = true;
  for (int layer = 0; layer < model.layers(); ++layer) options.trace_layers.push_back(layer);
  return options;
}

// Every number that a run gives besides hidden states.
std::vector<const Tensor*> outputs(const headscope::Run& run) {
  std::vector<const Tensor*> all;
  for (const Tensor* one : {&run.last_hidden_state, &run.pooler_output, &run.logits}) {
    if (!one->empty()) all.push_back(one);
  }
  for (const auto& [name, tensor] : run.more) all.push_back(&tensor);
  return all;
}

double moved(const headscope::Run& a, const headscope::Run& b) {
  const auto left = outputs(a);
  const auto right = outputs(b);
  EXPECT_EQ(left.size(), right.size());
  double most = 0.0;
  if (left.size() != right.size()) return most;
  for (std::size_t n = 0; n < left.size(); ++n) {
    for (std::size_t i = 0; i < left[n]->span<float>().size(); ++i) {
      most = std::max(most,
                      std::abs(double{left[n]->span<float>()[i]} - double{right[n]->span<float>()[i]}));
    }
  }
  return most;
}

TEST(GoldenVision, TheSharesOfEveryHeadSumToItsLayer) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  for (const std::string& name : kCases) {
    SCOPED_TRACE(name);
    const Case c(name);
    const Sight sight = Sight::everything();
    const headscope::Run run = c.model.run(c.tokens, everything(c.model, sight));
    ASSERT_EQ(run.sighting.layers.size(), static_cast<std::size_t>(c.model.layers()));
    for (int layer = 0; layer < c.model.layers(); ++layer) {
      const auto n = static_cast<std::size_t>(layer);
      EXPECT_EQ(run.sighting.layers[n].query_heads, c.model.heads(layer));
      EXPECT_LE(contributions(c.model, layer, run.traces[n]).error, 5e-6) << c.model.layer_name(layer);
    }
  }
}

TEST(GoldenVision, EveryHeadMattersAndScalingByOneDoesNot) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  for (const std::string& name : kCases) {
    SCOPED_TRACE(name);
    const Case c(name);
    const headscope::Run whole = c.model.run(c.tokens);
    for (int layer = 0; layer < c.model.layers(); ++layer) {
      for (int head = 0; head < c.model.heads(layer); ++head) {
        RunOptions options;
        Edit edit;
        edit.layer = layer;
        edit.head = head;
        options.edits.push_back(edit);
        EXPECT_GT(moved(whole, c.model.run(c.tokens, options)), 1e-4) << layer << "." << head;
        options.edits[0].kind = Edit::Kind::kScale;
        EXPECT_EQ(moved(whole, c.model.run(c.tokens, options)), 0.0) << layer << "." << head;
      }
    }
  }
}

// Replacing a head's findings with its own changes nothing; with zeros it does what zero does.
TEST(GoldenVision, ReplacementsLieAsRecordsDo) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  for (const std::string& name : kCases) {
    SCOPED_TRACE(name);
    const Case c(name);
    const Sight sight = Sight::everything();
    const headscope::Run whole = c.model.run(c.tokens, everything(c.model, sight));
    for (int layer = 0; layer < c.model.layers(); ++layer) {
      const Tensor& z = whole.traces[static_cast<std::size_t>(layer)].z;  // [B,H,T,Dv]
      const auto [B, H, T, Dv] = z.view<float, 4>().shape;
      Tensor own(DType::kF32, {B, T, Dv});
      for (std::int64_t b = 0; b < B; ++b)
        std::copy_n(&z.view<float, 4>()(b, H - 1, 0, 0), T * Dv, own.span<float>().begin() + b * T * Dv);
      RunOptions options = everything(c.model, sight);
      Edit edit;
      edit.layer = layer;
      edit.head = static_cast<int>(H) - 1;
      edit.kind = Edit::Kind::kReplace;
      edit.replacement = std::make_shared<const Tensor>(std::move(own));
      options.edits.push_back(edit);
      EXPECT_EQ(moved(whole, c.model.run(c.tokens, options)), 0.0) << c.model.layer_name(layer);
    }
  }
}

TEST(GoldenVision, EveryKeyHasALabel) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  for (const std::string& name : kCases) {
    SCOPED_TRACE(name);
    const Case c(name);
    Sight sight;
    RunOptions options;
    options.sight = &sight;
    const headscope::Run run = c.model.run(c.tokens, options);
    for (int layer = 0; layer < c.model.layers(); ++layer) {
      if (c.model.layer_name(layer).starts_with("text")) {
        EXPECT_TRUE(c.model.labels(c.tokens, layer).empty());
        continue;
      }
      const FocusRecord& record = run.sighting.layers[static_cast<std::size_t>(layer)];
      std::multiset<std::string> texts;
      const std::int64_t pictures = c.tokens.pixels.dim(0);
      for (std::int64_t b = 0; b < record.batch / pictures; ++b) {
        const std::vector<Label> labels = c.model.labels(c.tokens, layer, b);
        ASSERT_EQ(static_cast<std::int64_t>(labels.size()), record.keys);
        for (const Label& label : labels) texts.insert(label.text);
      }
      for (const std::string& text : texts) {
        if (text.find("patch") != std::string::npos) {
          EXPECT_EQ(texts.count(text), 1U) << text;
        }
      }
    }
  }
}

TEST(GoldenVision, LabelsAreWhatAPersonCallsThem) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  const auto texts = [](const std::string& name, int layer, std::int64_t b) {
    const Case c(name);
    std::vector<std::string> all;
    for (const Label& label : c.model.labels(c.tokens, layer, b)) all.push_back(label.text);
    return all;
  };
  const auto registers = texts("dinov2_registers", 1, 0);
  EXPECT_EQ(registers[0], "[CLS]");
  EXPECT_EQ(registers[3], "register 2");
  EXPECT_EQ(registers[4], "patch 0,0");
  EXPECT_EQ(registers.back(), "patch 3,3");
  EXPECT_EQ(texts("deit", 0, 1)[1], "[DISTILLATION]");
  EXPECT_EQ(texts("videomae", 0, 0).back(), "frame 1 patch 1,1");
  // Windows of 4 x 4 over 8 x 8 patches, moved by two in the second layer.
  EXPECT_EQ(texts("swin", 0, 3)[0], "patch 4,4");
  EXPECT_EQ(texts("swin", 1, 0)[0], "patch 2,2");
  EXPECT_EQ(texts("swin", 1, 7)[15], "patch 1,1");
  EXPECT_EQ(texts("swin", 2, 1)[5], "patch 1,1");
  EXPECT_EQ(texts("timesformer", 0, 2), (std::vector<std::string>{"frame 0 patch 1,0",
                                                                  "frame 1 patch 1,0",
                                                                  "frame 2 patch 1,0",
                                                                  "frame 3 patch 1,0"}));
  EXPECT_EQ(texts("timesformer", 1, 5)[4], "frame 1 patch 1,1");
  EXPECT_EQ(texts("siglip", 4, 0)[5], "patch 1,1");
}

TEST(GoldenVision, NamesOfLayersAndClasses) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  const Case swin("swin");
  EXPECT_EQ(swin.model.layers(), 4);
  EXPECT_EQ(swin.model.layer_name(3), "stage 1 block 1");
  EXPECT_EQ(swin.model.heads(0), 2);
  EXPECT_EQ(swin.model.heads(2), 4);
  EXPECT_EQ(swin.model.label(2), "c");
  EXPECT_TRUE(swin.model.sees());
  const Case video("timesformer");
  EXPECT_EQ(video.model.layer_name(2), "time 1");
  EXPECT_EQ(video.model.attention_name(3), "attentions.1");
  const Case towers("siglip");
  EXPECT_EQ(towers.model.layers(), 5);
  EXPECT_EQ(towers.model.layer_name(1), "text 1");
  EXPECT_EQ(towers.model.layer_name(2), "vision 0");
  EXPECT_EQ(towers.model.layer_name(4), "vision pooling");
}

// Each tower reads its own input, so the other may be left out.
TEST(GoldenVision, OneTowerAloneSaysTheSame) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  for (const std::string name : {"clip", "clip_eos", "siglip"}) {
    SCOPED_TRACE(name);
    const Case c(name);
    const headscope::Run both = c.model.run(c.tokens);
    Tokens text;
    text.ids = c.tokens.ids.clone();
    Tokens picture;
    picture.pixels = c.tokens.pixels.clone();
    const headscope::Run left = c.model.run(text);
    const headscope::Run right = c.model.run(picture);
    EXPECT_FALSE(left.more.contains("image_embeds"));
    EXPECT_FALSE(right.more.contains("logits_per_text"));
    for (const auto& [run, word] : {std::pair(&left, "text_embeds"), std::pair(&right, "image_embeds")}) {
      const auto want = both.more.at(word).span<float>();
      const auto found = run->more.at(word).span<float>();
      EXPECT_TRUE(std::equal(want.begin(), want.end(), found.begin(), found.end())) << word;
    }
    EXPECT_THROW((void)c.model.run(Tokens()), Error);
  }
}

// What was trained on one size reads others; where it cannot, it says so.
TEST(GoldenVision, PicturesOfOtherSizes) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  for (const std::string& name : kCases) {
    SCOPED_TRACE(name);
    Case c(name);
    Shape shape = c.tokens.pixels.shape();
    shape[shape.size() - 1] += 8;
    Tensor wide = Tensor::zeros(DType::kF32, shape);
    for (std::size_t i = 0; i < wide.span<float>().size(); ++i)
      wide.span<float>()[i] = std::sin(0.37F * static_cast<float>(i));
    c.tokens.pixels = std::move(wide);
    if (name == "videomae") {
      EXPECT_THROW((void)c.model.run(c.tokens), Error);
      continue;
    }
    const Sight sight = Sight::everything();
    const headscope::Run run = c.model.run(c.tokens, everything(c.model, sight));
    for (const Tensor* tensor : outputs(run)) {
      for (const float x : tensor->span<float>()) ASSERT_TRUE(std::isfinite(x));
    }
    for (int layer = 0; layer < c.model.layers(); ++layer)
      EXPECT_LE(contributions(c.model, layer, run.traces[static_cast<std::size_t>(layer)]).error, 5e-6);
  }
}

TEST(GoldenVision, PicturesBecomePixels) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  Tensor rgb(DType::kU8, {4, 20, 30, 3});
  for (std::size_t i = 0; i < rgb.span<std::uint8_t>().size(); ++i)
    rgb.span<std::uint8_t>()[i] = static_cast<std::uint8_t>(i * 7 % 251);
  const auto seen = std::as_const(rgb).view<std::uint8_t, 4>();
  const Case picture("vit_model");
  const Tokens four = picture.model.pixels(seen);
  EXPECT_EQ(four.pixels.shape(), (Shape{4, 3, 16, 12}));
  EXPECT_EQ(picture.model.run(four).last_hidden_state.shape(), (Shape{4, 13, 32}));
  const Case video("timesformer");
  EXPECT_EQ(video.model.run(video.model.pixels(seen)).logits.shape(), (Shape{1, 5}));
  const Model text = Model::load((golden::golden_dir() / "families" / "bert").string());
  EXPECT_FALSE(text.sees());
  EXPECT_THROW((void)text.pixels(seen), Error);
}

TEST(GoldenVision, BadInputIsNamed) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  const auto code = [](const Case& c, const RunOptions& options) {
    try {
      (void)c.model.run(c.tokens, options);
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::kInternal;
  };
  Case c("swin");
  RunOptions options;
  Edit edit;
  edit.layer = 0;
  edit.head = 3;  // there are two; later stages have four
  options.edits.push_back(edit);
  EXPECT_EQ(code(c, options), ErrorCode::kRange);
  options.edits[0].layer = 4;
  EXPECT_EQ(code(c, options), ErrorCode::kRange);
  options.edits.clear();
  c.tokens.pixels = Tensor::zeros(DType::kF32, {1, 3, 4, 4});  // two patches are less than a window
  EXPECT_EQ(code(c, options), ErrorCode::kInput);
  c.tokens.pixels = Tensor();
  EXPECT_EQ(code(c, options), ErrorCode::kShape);
  c.tokens.ids = Tensor::zeros(DType::kI32, {1, 3});
  EXPECT_EQ(code(c, options), ErrorCode::kUsage);
}

}  // namespace
}  // namespace headscope
