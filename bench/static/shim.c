// A Vulkan driver that forwards to Mesa's RADV on its null device (RADV_FORCE_FAMILY) and makes all that would run there
// a no-op, so that whole WebGPU programs pass through it. For each compute pipeline it writes into $GPU_STATIC_DIR
//
//     <number>-<$GPU_STATIC_LABEL>.stats      RADV's statistics and the workgroup's size, "name\tvalue" lines
//     <number>-<$GPU_STATIC_LABEL>.s          the ISA
//     <number>-<$GPU_STATIC_LABEL>.dispatch   the first dispatch: "groups x y z", then for each bound buffer
//                                             "buffer set binding kind bytes [contents in hex, trailing zeros left out]"
//
// Copies between small buffers do happen, so that a dispatch's uniforms and tables are those that the program wrote.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <vulkan/vk_icd.h>

static void *driver;
static PFN_vkGetInstanceProcAddr instance_proc;
static PFN_vkGetDeviceProcAddr device_proc;
static PFN_vkCreateDevice create_device;
static PFN_vkCreateComputePipelines create_pipelines;
static PFN_vkCreateShaderModule create_module;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int count;

enum { MOST_MODULES = 4096 };
static struct { VkShaderModule module; size_t size; void *code; } modules[MOST_MODULES];
static int module_count;

static void open_driver(void) {
  if (driver) return;
  const char *path = getenv("GPU_STATIC_DRIVER");
  driver = dlopen(path ? path : "libvulkan_radeon.so", RTLD_NOW | RTLD_LOCAL);
  if (!driver) { fprintf(stderr, "bench:static: %s\n", dlerror()); abort(); }
  instance_proc = (PFN_vkGetInstanceProcAddr)dlsym(driver, "vk_icdGetInstanceProcAddr");
}

static VkResult nothing(void) { return VK_SUCCESS; }

// ---- what a dispatch reads: buffers with their memory, the contents of descriptor sets, and what is bound

enum { MOST_BUFFERS = 1 << 16, MOST_DESCRIPTORS = 1 << 16, MOST_PIPELINES = 4096, MOST_SETS = 8, MOST_DYNAMIC = 16 };
enum { CONTENTS = 1 << 16, COPIED = 1 << 20 }; // bytes up to which contents are written out, and copied

static struct { VkBuffer buffer; char *memory; VkDeviceSize size; } buffers[MOST_BUFFERS];
static int buffer_count;
static struct { VkDescriptorSet set; uint32_t binding; VkDescriptorType type; VkDescriptorBufferInfo info; } descriptors[MOST_DESCRIPTORS];
static int descriptor_count;
static struct { VkPipeline pipeline; char path[512]; } pipelines[MOST_PIPELINES];
static int pipeline_count;
static VkPipeline bound_pipeline;
static struct { VkDescriptorSet set; uint32_t offsets[MOST_DYNAMIC]; } bound_sets[MOST_SETS];

static int find_buffer(VkBuffer buffer) {
  for (int i = buffer_count - 1; i >= 0; i--) if (buffers[i].buffer == buffer) return i;
  return -1;
}

// Where the buffer's bytes lie; NULL unless the range lies within it.
static char *bytes_of(VkBuffer buffer, VkDeviceSize offset, VkDeviceSize size) {
  int i = find_buffer(buffer);
  return i >= 0 && buffers[i].memory && offset + size <= buffers[i].size ? buffers[i].memory + offset : NULL;
}

static PFN_vkCreateBuffer create_buffer;
static PFN_vkDestroyBuffer destroy_buffer;

static VkResult hook_create_buffer(VkDevice d, const VkBufferCreateInfo *info, const VkAllocationCallbacks *a, VkBuffer *out) {
  VkResult r = create_buffer(d, info, a, out);
  if (r != VK_SUCCESS) return r;
  pthread_mutex_lock(&lock);
  int i = find_buffer(VK_NULL_HANDLE);
  if (i < 0 && buffer_count < MOST_BUFFERS) i = buffer_count++;
  if (i >= 0) { buffers[i].buffer = *out; buffers[i].memory = NULL; buffers[i].size = info->size; }
  pthread_mutex_unlock(&lock);
  return r;
}

static void hook_destroy_buffer(VkDevice d, VkBuffer buffer, const VkAllocationCallbacks *a) {
  pthread_mutex_lock(&lock);
  int i = buffer ? find_buffer(buffer) : -1;
  if (i >= 0) buffers[i].buffer = VK_NULL_HANDLE;
  pthread_mutex_unlock(&lock);
  destroy_buffer(d, buffer, a);
}

static VkResult bind_buffer_memory(VkDevice d, VkBuffer buffer, VkDeviceMemory memory, VkDeviceSize offset) {
  pthread_mutex_lock(&lock);
  int i = find_buffer(buffer);
  if (i >= 0) buffers[i].memory = (char *)memory + 4096 + offset;
  pthread_mutex_unlock(&lock);
  return VK_SUCCESS;
}

static VkResult bind_buffer_memory2(VkDevice d, uint32_t n, const VkBindBufferMemoryInfo *infos) {
  for (uint32_t i = 0; i < n; i++) bind_buffer_memory(d, infos[i].buffer, infos[i].memory, infos[i].memoryOffset);
  return VK_SUCCESS;
}

static void copy_buffer(VkCommandBuffer c, VkBuffer from, VkBuffer to, uint32_t n, const VkBufferCopy *regions) {
  for (uint32_t i = 0; i < n; i++) {
    VkDeviceSize size = regions[i].size;
    char *source = bytes_of(from, regions[i].srcOffset, size), *target = bytes_of(to, regions[i].dstOffset, size);
    if (source && target && size <= COPIED) memmove(target, source, size);
  }
}

static void update_buffer(VkCommandBuffer c, VkBuffer to, VkDeviceSize offset, VkDeviceSize size, const void *data) {
  char *target = bytes_of(to, offset, size);
  if (target) memcpy(target, data, size);
}

static void update_descriptors(VkDevice d, uint32_t n, const VkWriteDescriptorSet *writes, uint32_t copies, const VkCopyDescriptorSet *c) {
  pthread_mutex_lock(&lock);
  for (uint32_t w = 0; w < n; w++) {
    if (!writes[w].pBufferInfo) continue;
    int i = 0;
    while (i < descriptor_count && (descriptors[i].set != writes[w].dstSet || descriptors[i].binding != writes[w].dstBinding)) i++;
    if (i == MOST_DESCRIPTORS) continue;
    if (i == descriptor_count) descriptor_count++;
    descriptors[i].set = writes[w].dstSet;
    descriptors[i].binding = writes[w].dstBinding;
    descriptors[i].type = writes[w].descriptorType;
    descriptors[i].info = writes[w].pBufferInfo[0];
  }
  pthread_mutex_unlock(&lock);
}

static void bind_pipeline(VkCommandBuffer c, VkPipelineBindPoint point, VkPipeline pipeline) { bound_pipeline = pipeline; }

static int is_dynamic(VkDescriptorType type) {
  return type == VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER_DYNAMIC || type == VK_DESCRIPTOR_TYPE_STORAGE_BUFFER_DYNAMIC;
}

static void bind_sets(VkCommandBuffer c, VkPipelineBindPoint point, VkPipelineLayout layout, uint32_t first, uint32_t n,
                      const VkDescriptorSet *sets, uint32_t dynamic_count, const uint32_t *offsets) {
  uint32_t taken = 0;
  for (uint32_t s = 0; s < n && first + s < MOST_SETS; s++) {
    uint32_t own = 0;
    bound_sets[first + s].set = sets[s];
    for (int i = 0; i < descriptor_count; i++) {
      if (descriptors[i].set == sets[s] && is_dynamic(descriptors[i].type) && own < MOST_DYNAMIC && taken < dynamic_count)
        bound_sets[first + s].offsets[own++] = offsets[taken++];
    }
  }
}

static void write_buffer_line(FILE *f, int set, int i, uint32_t dynamic_offset) {
  VkDescriptorBufferInfo info = descriptors[i].info;
  VkDeviceSize offset = info.offset + dynamic_offset, size = info.range;
  int b = find_buffer(info.buffer);
  if (size == VK_WHOLE_SIZE) size = b < 0 ? 0 : buffers[b].size - offset;
  fprintf(f, "buffer %d %u %s %llu ", set, descriptors[i].binding, is_dynamic(descriptors[i].type) ? "dynamic" : "static",
          (unsigned long long)size);
  unsigned char *bytes = size <= CONTENTS ? (unsigned char *)bytes_of(info.buffer, offset, size) : NULL;
  while (bytes && size > 0 && bytes[size - 1] == 0) size--;
  for (VkDeviceSize k = 0; bytes && k < size; k++) fprintf(f, "%02x", bytes[k]);
  fprintf(f, "\n");
}

static void dispatch(VkCommandBuffer c, uint32_t x, uint32_t y, uint32_t z) {
  pthread_mutex_lock(&lock);
  for (int p = pipeline_count - 1; p >= 0; p--) { // handles are used again
    if (pipelines[p].pipeline != bound_pipeline) continue;
    if (!pipelines[p].path[0]) break;
    FILE *f = fopen(pipelines[p].path, "w");
    pipelines[p].path[0] = 0; // the first dispatch only
    if (!f) break;
    fprintf(f, "groups %u %u %u\n", x, y, z);
    for (int set = 0; set < MOST_SETS; set++) {
      uint32_t dynamic = 0;
      for (int i = 0; bound_sets[set].set && i < descriptor_count; i++) {
        if (descriptors[i].set != bound_sets[set].set) continue;
        write_buffer_line(f, set, i, is_dynamic(descriptors[i].type) ? bound_sets[set].offsets[dynamic++] : 0);
      }
    }
    fclose(f);
    break;
  }
  pthread_mutex_unlock(&lock);
}

static VkResult allocate_command_buffers(VkDevice d, const VkCommandBufferAllocateInfo *info, VkCommandBuffer *out) {
  for (uint32_t i = 0; i < info->commandBufferCount; i++) {
    VK_LOADER_DATA *fake = calloc(1, 64);
    set_loader_magic_value(fake);
    out[i] = (VkCommandBuffer)fake;
  }
  return VK_SUCCESS;
}

static VkResult create_handle(VkDevice d, const void *info, const VkAllocationCallbacks *a, uint64_t *out) {
  *out = (uint64_t)(uintptr_t)malloc(8);
  return VK_SUCCESS;
}

static VkResult counter_value(VkDevice d, VkSemaphore s, uint64_t *value) { *value = ~0ull >> 2; return VK_SUCCESS; }

static VkResult query_results(VkDevice d, VkQueryPool p, uint32_t first, uint32_t n, size_t size, void *data) {
  memset(data, 0, size);
  return VK_SUCCESS;
}

// Memory: one type, backed by pages that are never touched unless mapped.
static void only_memory(VkPhysicalDeviceMemoryProperties *m) {
  memset(m, 0, sizeof *m);
  m->memoryTypeCount = m->memoryHeapCount = 1;
  m->memoryTypes[0].propertyFlags = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
    VK_MEMORY_PROPERTY_HOST_COHERENT_BIT | VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
  m->memoryHeaps[0].size = 24ull << 30;
  m->memoryHeaps[0].flags = VK_MEMORY_HEAP_DEVICE_LOCAL_BIT;
}

static void memory_properties(VkPhysicalDevice p, VkPhysicalDeviceMemoryProperties *m) { only_memory(m); }

static void memory_properties2(VkPhysicalDevice p, VkPhysicalDeviceMemoryProperties2 *m) { only_memory(&m->memoryProperties); }

static VkResult allocate_memory(VkDevice d, const VkMemoryAllocateInfo *info, const VkAllocationCallbacks *a, VkDeviceMemory *out) {
  size_t size = info->allocationSize + 4096;
  size_t *block = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (block == MAP_FAILED) return VK_ERROR_OUT_OF_DEVICE_MEMORY;
  *block = size;
  *out = (VkDeviceMemory)block;
  return VK_SUCCESS;
}

static void free_memory(VkDevice d, VkDeviceMemory memory, const VkAllocationCallbacks *a) {
  if (memory) munmap((void *)memory, *(size_t *)memory);
}

static VkResult map_memory(VkDevice d, VkDeviceMemory memory, VkDeviceSize offset, VkDeviceSize n, VkMemoryMapFlags f, void **out) {
  *out = (char *)memory + 4096 + offset;
  return VK_SUCCESS;
}

static void (*requirements)(VkDevice, VkBuffer, VkMemoryRequirements *);
static void (*requirements2)(VkDevice, const VkBufferMemoryRequirementsInfo2 *, VkMemoryRequirements2 *);

static void hook_requirements(VkDevice d, VkBuffer b, VkMemoryRequirements *m) {
  requirements(d, b, m);
  m->memoryTypeBits = 1;
}

static void hook_requirements2(VkDevice d, const VkBufferMemoryRequirementsInfo2 *i, VkMemoryRequirements2 *m) {
  requirements2(d, i, m);
  m->memoryRequirements.memoryTypeBits = 1;
}

static VkResult hook_create_device(VkPhysicalDevice p, const VkDeviceCreateInfo *info, const VkAllocationCallbacks *a, VkDevice *out) {
  VkDeviceCreateInfo copy = *info;
  uint32_t n = info->enabledExtensionCount;
  const char **names = calloc(n + 1, sizeof *names);
  for (uint32_t i = 0; i < n; i++) names[i] = info->ppEnabledExtensionNames[i];
  names[n] = VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME;
  copy.enabledExtensionCount = n + 1;
  copy.ppEnabledExtensionNames = names;
  VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR feature = {
    VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR, (void *)info->pNext, VK_TRUE};
  copy.pNext = &feature;
  return create_device(p, &copy, a, out);
}

static VkResult hook_create_module(VkDevice d, const VkShaderModuleCreateInfo *info, const VkAllocationCallbacks *a, VkShaderModule *out) {
  VkResult r = create_module(d, info, a, out);
  pthread_mutex_lock(&lock);
  int i = module_count++ % MOST_MODULES;
  free(modules[i].code);
  modules[i].module = *out;
  modules[i].size = info->codeSize;
  modules[i].code = memcpy(malloc(info->codeSize), info->pCode, info->codeSize);
  pthread_mutex_unlock(&lock);
  return r;
}

static void path_of(char *path, size_t size, int n, const char *label, const char *suffix) {
  snprintf(path, size, "%s/%03d-%s.%s", getenv("GPU_STATIC_DIR"), n, label, suffix);
}

static FILE *file(int n, const char *label, const char *suffix) {
  char path[512];
  path_of(path, sizeof path, n, label, suffix);
  return fopen(path, "w");
}

// The workgroup's size, which SPIR-V states as `OpExecutionMode … LocalSize x y z`.
static void write_workgroup(FILE *f, VkShaderModule module) {
  // the newest first: handles are used again
  for (int n = module_count - 1; n >= 0 && n >= module_count - MOST_MODULES; n--) {
    int i = n % MOST_MODULES;
    if (modules[i].module != module) continue;
    const uint32_t *word = modules[i].code, *end = word + modules[i].size / 4;
    for (word += 5; word < end && word[0] >> 16; word += word[0] >> 16) {
      if ((word[0] & 0xffff) == 16 && word[2] == 17) fprintf(f, "Workgroup\t%u\n", word[3] * word[4] * word[5]);
    }
    return;
  }
}

static void report(VkDevice d, VkPipeline pipeline, VkShaderModule module) {
  const char *label = getenv("GPU_STATIC_LABEL");
  if (pipeline_count < MOST_PIPELINES) {
    pipelines[pipeline_count].pipeline = pipeline;
    pipelines[pipeline_count++].path[0] = 0;
  }
  if (!getenv("GPU_STATIC_DIR") || !label) return;
  int n = count++;
  PFN_vkGetPipelineExecutableStatisticsKHR statistics = (void *)device_proc(d, "vkGetPipelineExecutableStatisticsKHR");
  PFN_vkGetPipelineExecutableInternalRepresentationsKHR texts =
    (void *)device_proc(d, "vkGetPipelineExecutableInternalRepresentationsKHR");
  PFN_vkGetPipelineExecutablePropertiesKHR properties = (void *)device_proc(d, "vkGetPipelineExecutablePropertiesKHR");
  VkPipelineInfoKHR pi = {VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR, NULL, pipeline};
  VkPipelineExecutableInfoKHR info = {VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR, NULL, pipeline, 0};

  FILE *f = file(n, label, "stats");
  uint32_t k = 1;
  VkPipelineExecutablePropertiesKHR property = {VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_PROPERTIES_KHR};
  properties(d, &pi, &k, &property);
  fprintf(f, "Subgroup size\t%u\n", property.subgroupSize);
  statistics(d, &info, &k, NULL);
  VkPipelineExecutableStatisticKHR *s = calloc(k, sizeof *s);
  for (uint32_t i = 0; i < k; i++) s[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR;
  statistics(d, &info, &k, s);
  for (uint32_t i = 0; i < k; i++) fprintf(f, "%s\t%llu\n", s[i].name, (unsigned long long)s[i].value.u64);
  write_workgroup(f, module);
  fclose(f);
  free(s);
  path_of(pipelines[pipeline_count - 1].path, sizeof pipelines[0].path, n, label, "dispatch");

  k = 0;
  texts(d, &info, &k, NULL);
  VkPipelineExecutableInternalRepresentationKHR *t = calloc(k, sizeof *t);
  for (uint32_t i = 0; i < k; i++) t[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INTERNAL_REPRESENTATION_KHR;
  texts(d, &info, &k, t);
  for (uint32_t i = 0; i < k; i++) t[i].pData = malloc(t[i].dataSize + 1);
  texts(d, &info, &k, t);
  for (uint32_t i = 0; i < k; i++) {
    if (strstr(t[i].name, "ssembly")) {
      FILE *g = file(n, label, "s");
      fwrite(t[i].pData, 1, t[i].dataSize ? t[i].dataSize - 1 : 0, g);
      fclose(g);
    }
    free(t[i].pData);
  }
  free(t);
}

static VkResult hook_create_pipelines(VkDevice d, VkPipelineCache cache, uint32_t n, const VkComputePipelineCreateInfo *infos,
                                      const VkAllocationCallbacks *a, VkPipeline *out) {
  for (uint32_t i = 0; i < n; i++) {
    VkComputePipelineCreateInfo info = infos[i];
    info.flags |= VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR | VK_PIPELINE_CREATE_CAPTURE_INTERNAL_REPRESENTATIONS_BIT_KHR;
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfo size = {
      VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO, (void *)info.stage.pNext,
      getenv("GPU_STATIC_WAVE") ? (uint32_t)atoi(getenv("GPU_STATIC_WAVE")) : 0};
    if (size.requiredSubgroupSize) {
      info.stage.pNext = &size;
      info.stage.flags &= ~VK_PIPELINE_SHADER_STAGE_CREATE_ALLOW_VARYING_SUBGROUP_SIZE_BIT;
    }
    VkResult r = create_pipelines(d, VK_NULL_HANDLE, 1, &info, a, &out[i]);
    if (r != VK_SUCCESS) return r;
    pthread_mutex_lock(&lock);
    report(d, out[i], info.stage.module);
    pthread_mutex_unlock(&lock);
  }
  return VK_SUCCESS;
}

static PFN_vkVoidFunction hook_device_proc(VkDevice d, const char *name);

static PFN_vkVoidFunction hooked(const char *name, PFN_vkVoidFunction real) {
  static const char *const handles[] = {"vkCreateFence", "vkCreateSemaphore", NULL};
  static const char *const nothings[] = {
    "vkFreeCommandBuffers", "vkBeginCommandBuffer", "vkEndCommandBuffer", "vkResetCommandBuffer", "vkQueueSubmit", "vkQueueSubmit2",
    "vkQueueSubmit2KHR", "vkQueueWaitIdle", "vkDeviceWaitIdle", "vkDestroyFence", "vkDestroySemaphore", "vkGetFenceStatus",
    "vkWaitForFences", "vkResetFences", "vkUnmapMemory",
    "vkFlushMappedMemoryRanges", "vkInvalidateMappedMemoryRanges", "vkWaitSemaphores", "vkWaitSemaphoresKHR", "vkSignalSemaphore", NULL};
  if (!real) return NULL;
  if (!strcmp(name, "vkGetDeviceProcAddr")) { device_proc = (void *)real; return (void *)hook_device_proc; }
  if (!strcmp(name, "vkCreateDevice")) { create_device = (void *)real; return (void *)hook_create_device; }
  if (!strcmp(name, "vkCreateComputePipelines")) { create_pipelines = (void *)real; return (void *)hook_create_pipelines; }
  if (!strcmp(name, "vkCreateShaderModule")) { create_module = (void *)real; return (void *)hook_create_module; }
  if (!strcmp(name, "vkGetPhysicalDeviceMemoryProperties")) return (void *)memory_properties;
  if (!strncmp(name, "vkGetPhysicalDeviceMemoryProperties2", 36)) return (void *)memory_properties2;
  if (!strcmp(name, "vkAllocateMemory")) return (void *)allocate_memory;
  if (!strcmp(name, "vkFreeMemory")) return (void *)free_memory;
  if (!strcmp(name, "vkMapMemory")) return (void *)map_memory;
  if (!strcmp(name, "vkGetBufferMemoryRequirements")) { requirements = (void *)real; return (void *)hook_requirements; }
  if (!strncmp(name, "vkGetBufferMemoryRequirements2", 30)) { requirements2 = (void *)real; return (void *)hook_requirements2; }
  if (!strcmp(name, "vkAllocateCommandBuffers")) return (void *)allocate_command_buffers;
  if (!strcmp(name, "vkGetSemaphoreCounterValue")) return (void *)counter_value;
  if (!strcmp(name, "vkGetQueryPoolResults")) return (void *)query_results;
  if (!strcmp(name, "vkCreateBuffer")) { create_buffer = (void *)real; return (void *)hook_create_buffer; }
  if (!strcmp(name, "vkDestroyBuffer")) { destroy_buffer = (void *)real; return (void *)hook_destroy_buffer; }
  if (!strcmp(name, "vkBindBufferMemory")) return (void *)bind_buffer_memory;
  if (!strncmp(name, "vkBindBufferMemory2", 19)) return (void *)bind_buffer_memory2;
  if (!strcmp(name, "vkUpdateDescriptorSets")) return (void *)update_descriptors;
  if (!strcmp(name, "vkCmdBindPipeline")) return (void *)bind_pipeline;
  if (!strcmp(name, "vkCmdBindDescriptorSets")) return (void *)bind_sets;
  if (!strcmp(name, "vkCmdCopyBuffer")) return (void *)copy_buffer;
  if (!strcmp(name, "vkCmdUpdateBuffer")) return (void *)update_buffer;
  if (!strcmp(name, "vkCmdDispatch")) return (void *)dispatch;
  if (!strncmp(name, "vkCmd", 5)) return (void *)nothing;
  for (int i = 0; handles[i]; i++) if (!strcmp(name, handles[i])) return (void *)create_handle;
  for (int i = 0; nothings[i]; i++) if (!strcmp(name, nothings[i])) return (void *)nothing;
  return real;
}

static PFN_vkVoidFunction hook_device_proc(VkDevice d, const char *name) { return hooked(name, device_proc(d, name)); }

PFN_vkVoidFunction vk_icdGetInstanceProcAddr(VkInstance instance, const char *name) {
  open_driver();
  return hooked(name, instance_proc(instance, name));
}

PFN_vkVoidFunction vk_icdGetPhysicalDeviceProcAddr(VkInstance instance, const char *name) {
  open_driver();
  PFN_vkVoidFunction (*get)(VkInstance, const char *) = dlsym(driver, "vk_icdGetPhysicalDeviceProcAddr");
  return get(instance, name);
}

VkResult vk_icdNegotiateLoaderICDInterfaceVersion(uint32_t *version) {
  open_driver();
  VkResult (*negotiate)(uint32_t *) = dlsym(driver, "vk_icdNegotiateLoaderICDInterfaceVersion");
  return negotiate(version);
}
