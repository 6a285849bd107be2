// ViT: Dosovitskiy 2020. DeiT: Touvron 2020, with a second token that learns from a teacher.
#include "models/vision_words.h"

namespace headscope::models {

using From = VisionTop::From;

VisionBlueprint vit(const json::Value& config, const std::string& architecture) {
  VisionBlueprint b = vit_like(config, "vit", 1e-12);
  const std::string kind = class_ending(architecture, {"Model", "ForImageClassification"});
  b.top.pooled = From::kFirst;
  b.top.pooled_dense = "pooler.dense";
  b.top.dense_must = true;
  b.top.pooled_activation = activation_of(word_or(config, "pooler_act", "tanh"));
  if (kind == "ForImageClassification") classify(b, From::kFirst);
  return b;
}

VisionBlueprint deit(const json::Value& config, const std::string& architecture) {
  VisionBlueprint b = vit_like(config, "deit", 1e-12);
  const std::string kind = class_ending(
      architecture, {"Model", "ForImageClassification", "ForImageClassificationWithTeacher"});
  b.in_front.push_back({"embeddings.distillation_token", "[DISTILLATION]"});
  b.top.pooled = From::kFirst;
  b.top.pooled_dense = "pooler.dense";
  b.top.dense_must = true;
  b.top.pooled_activation = activation_of(word_or(config, "pooler_act", "tanh"));
  if (kind == "ForImageClassification") classify(b, From::kFirst);
  if (kind == "ForImageClassificationWithTeacher") {
    b.top.classified = From::kFirst;
    b.top.classifiers = {"cls_classifier", "distillation_classifier"};
    b.top.classifier_outputs = {"cls_logits", "distillation_logits"};
  }
  return b;
}

}  // namespace headscope::models
