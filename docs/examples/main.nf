// nextflow run main.nf --maps 'maps/*.mrc' --shards 4: masks of all maps on several nodes, into one folder
// What is done already gpumask itself knows: run again after a crash, or with more maps, it does the rest.
params.maps = 'maps/*.mrc'
params.masks = 'masks'
params.shards = 4
params.recipe = '--threshold 3sigma --dilate 5px --soft-edge 12px'

process shard {
    cpus 8
    cache false
    errorStrategy 'retry'
    maxRetries 2

    input:
    val number

    output:
    val number

    // exit code 1: some maps failed, which masks/summary.csv tells with the reasons and which stops nothing
    script:
    """
    cd '${launchDir}'
    gpumask batch '${params.maps}' -o '${params.masks}' --shard ${number}/${params.shards} -j ${task.cpus} ${params.recipe} || test \$? -eq 1
    """
}

process merge {
    cache false

    input:
    val numbers

    output:
    path 'summary.csv'

    script:
    """
    folder="\$PWD"
    cd '${launchDir}'
    gpumask batch --merge -o '${params.masks}' || test \$? -eq 1
    cp '${params.masks}/summary.csv' "\$folder"
    """
}

workflow {
    Channel.of(1..params.shards) | shard | collect | merge
}
