#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "models/vision.h"
#include "models/words.h"

/// What families that read pictures share: words of config.json and names of tensors.
namespace headscope::models {

/// Height and width: one size for both, or two. Errors: kFormat.
std::array<std::int64_t, 2> sides_word(const json::Value& config, std::string_view key, std::int64_t fallback);
/// image_size, patch_size and num_channels. Errors: kFormat (a patch larger than the picture).
PatchFacts patch_words(const json::Value& config, std::int64_t picture, std::int64_t patch);
/// Which of `endings` the name of the class has; an empty name is a "Model".
/// Errors: kUnsupported, naming them.
std::string class_ending(const std::string& architecture, const std::vector<std::string>& endings);

/// ViT and its kin from the words and names that most of them share: norms before attention and MLP, a class token,
/// learned positions, a final norm. Families then change what differs.
VisionBlueprint vit_like(const json::Value& config, const std::string& family, double eps);
/// `layers` copies of a layer's facts, each with its own prefix: "encoder.layer.{}.".
void repeat(VisionBlueprint& b,
            std::int64_t layers,
            const std::string& prefix,
            const LayerFacts& layer,
            const BlockFacts& block);
/// A linear map on what is taken.
void classify(VisionBlueprint& b, VisionTop::From from, const std::string& name = "classifier");

VisionBlueprint vit(const json::Value& config, const std::string& architecture);
VisionBlueprint deit(const json::Value& config, const std::string& architecture);
VisionBlueprint dinov2(const json::Value& config, const std::string& architecture);
VisionBlueprint beit(const json::Value& config, const std::string& architecture);
VisionBlueprint swin(const json::Value& config, const std::string& architecture);
VisionBlueprint videomae(const json::Value& config, const std::string& architecture);
VisionBlueprint timesformer(const json::Value& config, const std::string& architecture);
VisionBlueprint clip_vision(const json::Value& config, const std::string& architecture);
VisionBlueprint siglip_vision(const json::Value& config, const std::string& architecture);

}  // namespace headscope::models
